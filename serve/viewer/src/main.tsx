// The page: a bar of views, sign-in, and the view that the address names.
import { render, type ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { isSignedIn, signIn, signOut, whenSignedOut } from "./api";
import { LogView } from "./log";
import { useData } from "./hooks";
import { Trouble, Waiting } from "./parts";
import { addressOf, takeToken, useRoute } from "./route";
import { SignIn } from "./sign_in";
import "./style.css";
import { WellsView } from "./wells";

type Shown = ComponentType<{ query: URLSearchParams }>;

interface View {
  title: string;
  inBar: boolean;
  /** Views of pictures bring a library of their own, which the first drawing does not wait for. */
  load: () => Promise<Shown>;
}

const AT_ONCE: Record<string, Shown> = { wells: WellsView, log: LogView };

const VIEWS: Record<string, View> = {
  wells: { title: "Wells", inBar: true, load: async () => AT_ONCE.wells! },
  log: { title: "Depth log", inBar: true, load: async () => AT_ONCE.log! },
  tile: { title: "Tile", inBar: false, load: async () => (await import("./tile")).TileView },
  correct: { title: "Correct", inBar: true, load: async () => (await import("./correct")).CorrectView },
  statistics: {
    title: "Statistics",
    inBar: true,
    load: async () => (await import("./statistics")).StatisticsView,
  },
  models: { title: "Models", inBar: true, load: async () => (await import("./models")).ModelsView },
  try: { title: "Try it", inBar: true, load: async () => (await import("./try")).TryView },
};

function ViewOf({ view, query }: { view: string; query: URLSearchParams }) {
  const loaded = useData(view, VIEWS[view]!.load);
  if (loaded.error) return <Trouble error={new Error("This part of the page did not come. Is the endpoint still running?")} retry={loaded.reload} />;
  const Component = AT_ONCE[view] ?? (loaded.loading ? null : loaded.data);
  return Component ? <Component query={query} /> : <Waiting what="the view" />;
}

function Page() {
  const { view, query } = useRoute();
  const [signedIn, setSignedIn] = useState(isSignedIn);
  const [reason, setReason] = useState("");
  useEffect(() => {
    whenSignedOut((why) => {
      setReason(why);
      setSignedIn(false);
    });
    const change = () => setSignedIn(isSignedIn());
    addEventListener("hashchange", change);
    return () => removeEventListener("hashchange", change);
  }, []);
  const shown = Object.hasOwn(VIEWS, view) ? VIEWS[view] : undefined;
  const wells = query.getAll("well");
  useEffect(() => {
    const subject = wells.length ? `${wells.join(", ")}: ` : "";
    document.title = `${subject}${shown?.title ?? "Unknown"} – MicroCrystalNet`;
  }, [view, wells.join()]);
  return (
    <>
      <a class="skip" href="#main" onClick={skipToMain}>
        Skip to the content
      </a>
      <header>
        <strong>MicroCrystalNet</strong>
        <nav aria-label="Views">
          {Object.entries(VIEWS)
            .filter(([, { inBar }]) => inBar)
            .map(([name, { title }]) => (
              <a
                key={name}
                href={addressOf(name, name === "wells" || name === "try" ? {} : { well: wells })}
                aria-current={name === view ? "page" : undefined}
              >
                {title}
              </a>
            ))}
        </nav>
        {signedIn && (
          <button type="button" class="quiet" onClick={() => signOut("You are signed out.")}>
            Sign out
          </button>
        )}
      </header>
      <main id="main" tabIndex={-1}>
        {!signedIn ? (
          <SignIn
            reason={reason}
            onSignIn={(token) => {
              signIn(token);
              setSignedIn(true);
              setReason("");
            }}
          />
        ) : shown ? (
          <ViewOf view={view} query={query} />
        ) : (
          <div class="trouble" role="alert">
            <p>This page has no view “{view}”.</p>
            <a href="#/wells">Go to the wells</a>
          </div>
        )}
      </main>
    </>
  );
}

function skipToMain(event: Event): void {
  // An address behind # is a view here, so the link does not navigate.
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function signInByAddress(): void {
  const token = takeToken();
  if (token !== null) signIn(token);
}

signInByAddress();
// Before the page's own listeners, which then see the address without it.
addEventListener("hashchange", signInByAddress);
render(<Page />, document.getElementById("page")!);
