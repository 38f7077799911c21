import { expect, it } from "vitest";
import { findLocalAddresses } from "./local-links";

it("finds addresses of this computer without a scheme", () => {
  const cases: [string, string[]][] = [
    ["listening on localhost:3000", ["localhost:3000"]],
    ["Serving on 0.0.0.0:8000/app?x=1, ready.", ["0.0.0.0:8000/app?x=1"]],
    ["(127.0.0.1:5173)", ["127.0.0.1:5173"]],
    ["at localhost:3000.", ["localhost:3000"]],
    ["http://localhost:3000/", []],
    ["mylocalhost:3000 x.localhost:80 user@localhost:22", []],
    ["127.0.0.1:80:90 localhost", []],
  ];
  for (const [line, expected] of cases)
    expect(
      findLocalAddresses(line).map(({ text }) => text),
      line,
    ).toEqual(expected);
  expect(findLocalAddresses("on localhost:3000")[0]?.start).toBe(3);
});
