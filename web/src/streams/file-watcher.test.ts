import { describe, expect, it } from "vitest";
import { FakeEnvironment } from "./fake-socket";
import { FileWatcher } from "./file-watcher";

describe("file watcher", () => {
  it("watches again after a reconnect", () => {
    const environment = new FakeEnvironment();
    const reported: (readonly string[] | null)[] = [];
    const handlers = {
      onChange: (one: readonly string[] | null) => reported.push(one),
      onState: () => undefined,
      onClose: () => undefined,
    };
    const watch = new FileWatcher(() => "ws://x", handlers, environment);
    watch.setDirectories(["", "a"]);
    watch.start();
    environment.lastSocket.open();
    watch.setDirectories([""]);
    environment.lastSocket.receive(JSON.stringify({ directories: ["a"], all: false }));
    expect(environment.lastSocket.sent.map((one) => JSON.parse(one as string) as unknown)).toEqual([
      { type: "watch", path: "" },
      { type: "watch", path: "a" },
      { type: "unwatch", path: "a" },
    ]);
    expect(reported).toEqual([["a"]]);
    environment.lastSocket.drop();
    environment.advance(60_000);
    environment.lastSocket.open();
    expect(environment.lastSocket.sent).toHaveLength(1);
    expect(reported).toEqual([["a"], null]);
  });
});
