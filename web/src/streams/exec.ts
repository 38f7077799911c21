// One program in the machine, to its end: for what the file routes cannot do. What it says is kept only to explain a failure.
import { socketUrl } from "../api/endpoints";
import { browser, type Environment } from "./reconnecting-socket";

/** As much as is kept of what a program complains of. */
const MAX_COMPLAINT = 2000;
/** Small deeds only are asked for. */
const DEADLINE_MS = 60_000;
const STDERR = 2;
const END = 3;

type End =
  | { type: "exited"; code?: number | null; signal?: number | null }
  | { type: "not_started"; status: number; message: string };

export function run(workspace: string, argv: readonly string[], environment: Environment = browser) {
  return new Promise<void>((resolve, reject) => {
    const socket = environment.open(socketUrl(workspace, "exec"));
    const text = new TextDecoder();
    let complaint = "";
    let over = false;
    const end = (failure: string | null) => {
      if (over) return;
      over = true;
      forget();
      socket.close();
      if (failure === null) resolve();
      else reject(new Error(`${argv[0]} failed in the machine. ${failure}`.trim()));
    };
    const forget = environment.later(DEADLINE_MS, () => end("It took too long."));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify({ argv }));
    socket.onclose = () => end("The connection was lost.");
    socket.onmessage = ({ data }) => {
      if (!(data instanceof ArrayBuffer)) return;
      const [kind] = new Uint8Array(data, 0, Math.min(1, data.byteLength));
      const rest = data.slice(1);
      if (kind === STDERR) complaint = (complaint + text.decode(rest)).slice(0, MAX_COMPLAINT);
      if (kind !== END) return;
      const how = JSON.parse(text.decode(rest)) as End;
      if (how.type === "not_started") end(how.message);
      else end(how.code === 0 ? null : complaint.trim());
    };
  });
}
