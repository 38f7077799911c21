import { describe, expect, it } from "vitest";
import { toTemplate } from "./snippet";

describe("snippets", () => {
  it("keep their fields", () => {
    expect(toTemplate("print($1)$0")).toBe("print(${1})${999}");
    expect(toTemplate("for (${1:let i}; ${2})")).toBe("for (${1:let i}; ${2})");
    expect(toTemplate("${1|one,two|}")).toBe("${1:one}");
    expect(toTemplate("${1:f(${2:x}, $3)}")).toBe("${1:f(x, )}");
  });

  it("keep their text", () => {
    expect(toTemplate("if {\n\t$0\n}")).toBe("if \\{\n\t${999}\n\\}");
    expect(toTemplate("a\\$1 \\} \\\\")).toBe("a$1 \\} \\\\");
    expect(toTemplate("${TM_FILENAME:x} $TM_LINE")).toBe("x ");
    expect(toTemplate("100 $ ${ ${1")).toBe("100 $ $\\{ $\\{1");
  });
});
