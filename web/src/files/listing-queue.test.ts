import { describe, expect, it } from "vitest";
import { ListingQueue } from "./listing-queue";

/** A server whose answers the test gives. */
function setUp() {
  const answers: { path: string; answer: () => void }[] = [];
  const queue = new ListingQueue(
    (path) => new Promise((resolve) => answers.push({ path, answer: () => resolve() })),
  );
  const settle = () => new Promise((resolve) => setTimeout(resolve));
  return { queue, answers, settle };
}

describe("ListingQueue", () => {
  it("finishes a listing although the directory changes all the time", async () => {
    const { queue, answers, settle } = setUp();
    for (let change = 0; change < 10; change += 1) queue.request("large");
    expect(answers.length).toBe(1);
    answers[0]?.answer();
    await settle();
    // What changed during the first listing is in the second.
    expect(answers.length).toBe(2);
    answers[1]?.answer();
    await settle();
    expect(answers.length).toBe(2);
    queue.request("large");
    expect(answers.length).toBe(3);
  });

  it("lists different directories at once", () => {
    const { queue, answers } = setUp();
    queue.request("one");
    queue.request("two");
    expect(answers.map(({ path }) => path)).toEqual(["one", "two"]);
  });

  it("begins nothing when it is closed", async () => {
    const { queue, answers, settle } = setUp();
    queue.request("one");
    queue.request("one");
    queue.close();
    queue.request("two");
    answers[0]?.answer();
    await settle();
    expect(answers.length).toBe(1);
  });
});
