import { beforeAll, describe, expect, it, vi } from "vitest";
import { run } from "./exec";
import { FakeEnvironment } from "./fake-socket";

beforeAll(() => vi.stubGlobal("window", { location: { origin: "http://burrow.test" } }));

const message = (kind: number, text: string) => new Uint8Array([kind, ...new TextEncoder().encode(text)]);

describe("a program in the machine", () => {
  it("is asked for once, and its end is waited for", async () => {
    const environment = new FakeEnvironment();
    const running = run("w", ["chmod", "755", "--", "run"], environment);
    environment.last.accept();
    expect(environment.last.sent).toEqual([JSON.stringify({ argv: ["chmod", "755", "--", "run"] })]);
    environment.last.say(message(1, "out"));
    environment.last.say(message(3, '{"type":"exited","code":0}'));
    await running;
    expect(environment.last.closed).toBe(true);
  });

  it("says what it complained of", async () => {
    const environment = new FakeEnvironment();
    const running = run("w", ["ln"], environment);
    environment.last.accept();
    environment.last.say(message(2, "ln: no room\n"));
    environment.last.say(message(3, '{"type":"exited","code":1}'));
    await expect(running).rejects.toThrow("ln failed in the machine. ln: no room");
  });

  it("fails if it cannot begin, if the socket breaks, and if it does not end", async () => {
    for (const [how, why] of [
      [
        (e: FakeEnvironment) =>
          e.last.say(message(3, '{"type":"not_started","status":127,"message":"none"}')),
        "none",
      ],
      [(e: FakeEnvironment) => e.last.break(), "lost"],
      [(e: FakeEnvironment) => e.pass(60_000), "too long"],
    ] as const) {
      const environment = new FakeEnvironment();
      const running = run("w", ["x"], environment);
      environment.last.accept();
      how(environment);
      await expect(running).rejects.toThrow(why);
    }
  });
});
