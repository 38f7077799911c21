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
    // The agent reports each directory once it watches it.
    expect(environment.lastSocket.sent).toEqual([JSON.stringify({ type: "watch", path: "" })]);
    environment.lastSocket.receive(JSON.stringify({ directories: [""], all: false }));
    expect(reported).toEqual([["a"], [""]]);
  });
});
