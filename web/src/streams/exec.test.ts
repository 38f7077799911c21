import { beforeAll, describe, expect, it, vi } from "vitest";
import { execProgram } from "./exec";
import { FakeEnvironment } from "./fake-socket";

beforeAll(() => vi.stubGlobal("window", { location: { origin: "http://burrow.test" } }));

const message = (kind: number, text: string) => new Uint8Array([kind, ...new TextEncoder().encode(text)]);

describe("execProgram", () => {
  it("resolves when the program exits", async () => {
    const environment = new FakeEnvironment();
    const running = execProgram("w", ["chmod", "755", "--", "run"], environment);
    environment.lastSocket.open();
    expect(environment.lastSocket.sent).toEqual([JSON.stringify({ argv: ["chmod", "755", "--", "run"] })]);
    environment.lastSocket.receive(message(1, "out"));
    environment.lastSocket.receive(message(3, '{"type":"exited","code":0}'));
    await running;
    expect(environment.lastSocket.closed).toBe(true);
  });

  it("rejects with the standard error", async () => {
    const environment = new FakeEnvironment();
    const running = execProgram("w", ["ln"], environment);
    environment.lastSocket.open();
    environment.lastSocket.receive(message(2, "ln: no room\n"));
    environment.lastSocket.receive(message(3, '{"type":"exited","code":1}'));
    await expect(running).rejects.toThrow("Cannot run ln: ln: no room");
  });

  it("rejects on start failure, loss and timeout", async () => {
    for (const [how, why] of [
      [
        (e: FakeEnvironment) =>
          e.lastSocket.receive(message(3, '{"type":"not_started","status":127,"message":"none"}')),
        "none",
      ],
      [(e: FakeEnvironment) => e.lastSocket.drop(), "lost"],
      [(e: FakeEnvironment) => e.advance(60_000), "timed out"],
    ] as const) {
      const environment = new FakeEnvironment();
      const running = execProgram("w", ["x"], environment);
      environment.lastSocket.open();
      how(environment);
      await expect(running).rejects.toThrow(why);
    }
  });
});
