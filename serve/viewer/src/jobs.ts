// Pictures that are too large for one request: sent as a job, which tells its progress.
import type { components } from "../build/api";
import { EndpointError, authorization, fetchJson, pathOf } from "./api";

export type Job = components["schemas"]["Job"];

const POLL_MS = 700;
const MOST_FAILURES = 8;

/** Whether the endpoint refused a picture as too large, and takes it as a job. */
export function isForJobs(error: unknown): boolean {
  return error instanceof EndpointError && error.status === 413 && error.message.includes("/v1/jobs");
}

/** Run a picture as a job until it is done; an abort of the signal cancels it, also at the endpoint. */
export async function runJob(
  picture: FormData,
  query: Record<string, string>,
  signal: AbortSignal,
  onProgress: (job: Job) => void,
): Promise<Job> {
  let job = await fetchJson<Job>(pathOf(["jobs"], query), { method: "POST", body: picture, signal });
  const { url } = job;
  const cancel = () =>
    void fetch(url, { method: "DELETE", headers: authorization(), keepalive: true }).catch(() => {});
  signal.addEventListener("abort", cancel);
  addEventListener("pagehide", cancel);
  try {
    let failures = 0;
    while (job.status === "queued" || job.status === "running") {
      onProgress(job);
      await pause(signal);
      try {
        job = await fetchJson<Job>(url, { signal });
        failures = 0;
      } catch (error) {
        // A process of the endpoint may be replaced meanwhile.
        const passes = error instanceof EndpointError && [0, 502, 503, 504].includes(error.status);
        if (!passes || ++failures > MOST_FAILURES) throw error;
      }
    }
  } finally {
    signal.removeEventListener("abort", cancel);
    removeEventListener("pagehide", cancel);
  }
  if (job.status !== "done") throw new EndpointError(-1, job.problem ?? `The job was ${job.status}.`);
  return job;
}

function pause(signal: AbortSignal): Promise<void> {
  return new Promise((go, stop) => {
    const timer = setTimeout(go, POLL_MS);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      stop(signal.reason);
    });
  });
}
