// Sign-in by token.
import { useState } from "preact/hooks";

export function SignIn(props: { reason: string; onSignIn: (token: string) => void }) {
  const [token, setToken] = useState("");
  return (
    <form
      class="sign-in"
      onSubmit={(event) => {
        event.preventDefault();
        if (token.trim()) props.onSignIn(token);
      }}
    >
      <h1>Sign in</h1>
      {props.reason && (
        <p class="trouble" role="alert">
          {props.reason}
        </p>
      )}
      <label>
        Token
        <input
          type="password"
          autocomplete="off"
          value={token}
          onInput={(event) => setToken(event.currentTarget.value)}
        />
      </label>
      <button type="submit">Sign in</button>
      <p>
        Whoever runs this endpoint makes tokens with <code>mcn token add</code>. The token is kept
        for this browser tab only.
      </p>
    </form>
  );
}
