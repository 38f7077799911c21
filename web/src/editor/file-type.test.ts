import { expect, it } from "vitest";
import { imageTypeOf } from "./file-type";

it("knows images by their names", () => {
  expect(["a.png", "b.JPG", "a.b.webp"].map(imageTypeOf)).toEqual(["image/png", "image/jpeg", "image/webp"]);
  expect(["a.svg", "a.html", "png", "a.constructor", ""].map(imageTypeOf)).toEqual([
    null,
    null,
    null,
    null,
    null,
  ]);
});
