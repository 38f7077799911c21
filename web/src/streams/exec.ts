// Runs one program in the guest and waits for its end. For what the file endpoints cannot do. Its
// standard error is kept only to explain a failure.
import { socketUrl } from "../api/endpoints";
import { browserEnvironment, type SocketEnvironment } from "./reconnecting-socket";

const MAX_STDERR_CHARACTERS = 2000;
const EXEC_TIMEOUT_MS = 60_000;
const STDERR = 2;
const END = 3;

type ExecEnd =
  | { type: "exited"; code?: number | null; signal?: number | null }
  | { type: "not_started"; status: number; message: string };

export function execProgram(
  workspace: string,
  argv: readonly string[],
  environment: SocketEnvironment = browserEnvironment,
) {
  return new Promise<void>((resolve, reject) => {
    const socket = environment.open(socketUrl(workspace, "exec"));
    const text = new TextDecoder();
    let stderr = "";
    let ended = false;
    const end = (failure: string | null) => {
      if (ended) return;
      ended = true;
      cancelTimeout();
      socket.close();
      if (failure === null) resolve();
      else reject(new Error(`Cannot run ${argv[0]}: ${failure}`.trim()));
    };
    const cancelTimeout = environment.setTimer(EXEC_TIMEOUT_MS, () => end("It timed out."));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify({ argv }));
    socket.onclose = () => end("The connection was lost.");
    socket.onmessage = ({ data }) => {
      if (!(data instanceof ArrayBuffer)) return;
      const [kind] = new Uint8Array(data, 0, Math.min(1, data.byteLength));
      const rest = data.slice(1);
      if (kind === STDERR) stderr = (stderr + text.decode(rest)).slice(0, MAX_STDERR_CHARACTERS);
      if (kind !== END) return;
      const how = JSON.parse(text.decode(rest)) as ExecEnd;
      if (how.type === "not_started") end(how.message);
      else end(how.code === 0 ? null : stderr.trim());
    };
  });
}
