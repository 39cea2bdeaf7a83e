import { describe, expect, it } from "vitest";
import { withSection } from "../../src/methods/replications.ts";

describe("the document of results", () => {
  const before = "# Results\n\nIntro.\n";
  const one = withSection(before, "a", "Paper A", "first");

  it("gets a section at its end, between markers", () => {
    expect(one).toBe("# Results\n\nIntro.\n\n<!-- results:a -->\n## Paper A\n\nfirst\n<!-- /results:a -->\n");
  });

  it("keeps every other section when one is written again", () => {
    const two = withSection(one, "b", "Paper B", "second");
    const again = withSection(two, "a", "Paper A", "third\n");
    expect(again).toBe(two.replace("first", "third"));
    expect(withSection(again, "a", "Paper A", "third")).toBe(again);
  });
});
