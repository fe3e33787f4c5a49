// The page: a bar of views, sign-in, and the view that the address names.
import { render, type ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { isSignedIn, signIn, signOut, whenSignedOut } from "./api";
import { CorrectView } from "./correct";
import { LogView } from "./log";
import { ModelsView } from "./models";
import { addressOf, takeToken, useRoute } from "./route";
import { SignIn } from "./sign_in";
import { StatisticsView } from "./statistics";
import "./style.css";
import { TileView } from "./tile";
import { TryView } from "./try";
import { WellsView } from "./wells";

interface View {
  title: string;
  Component: ComponentType<{ query: URLSearchParams }>;
  inBar: boolean;
}

const VIEWS: Record<string, View> = {
  wells: { title: "Wells", Component: WellsView, inBar: true },
  log: { title: "Depth log", Component: LogView, inBar: true },
  tile: { title: "Tile", Component: TileView, inBar: false },
  correct: { title: "Correct", Component: CorrectView, inBar: true },
  statistics: { title: "Statistics", Component: StatisticsView, inBar: true },
  models: { title: "Models", Component: ModelsView, inBar: true },
  try: { title: "Try it", Component: TryView, inBar: true },
};

function Page() {
  const { view, query } = useRoute();
  const [signedIn, setSignedIn] = useState(isSignedIn);
  const [reason, setReason] = useState("");
  useEffect(() => {
    whenSignedOut((why) => {
      setReason(why);
      setSignedIn(false);
    });
  }, []);
  const shown = VIEWS[view];
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
          <shown.Component query={query} />
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

const token = takeToken();
if (token !== null) signIn(token);
render(<Page />, document.getElementById("page")!);
