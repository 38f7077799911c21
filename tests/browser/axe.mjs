// Finds what keeps people with disabilities from using a page: axe-core, with all its rules.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What is wrong with the page as it is shown now: a line for each rule and element. */
export async function findBarriers(page) {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(source);
  const violations = await page.evaluate(async () => {
    // Programs choose what is in a terminal and its colours, and what is in a preview.
    const { violations } = await window.axe.run(
      { exclude: [".xterm-screen"] },
      { resultTypes: ["violations"], iframes: false },
    );
    return violations;
  });
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target.join(" ")}: ${oneLine(failureSummary)}`),
  );
}

const oneLine = (text) => text.replace(/\s*\n\s*/g, "; ");
