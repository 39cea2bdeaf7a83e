/**
 * Byte-pair encoding of a word: of all neighbours whose joining has a score, those with the highest are joined, the first of
 * equals, until none has one.
 */
export function bestMerge(
  letters: readonly string[],
  scoreOf: (pair: string, left: string, right: string) => number | undefined,
): string[] {
  const pieces = [...letters];
  for (;;) {
    let [best, at] = [Number.NEGATIVE_INFINITY, -1];
    for (let i = 0; i + 1 < pieces.length; i++) {
      const score = scoreOf(pieces[i] + pieces[i + 1], pieces[i], pieces[i + 1]);
      if (score !== undefined && score > best) [best, at] = [score, i];
    }
    if (at < 0) return pieces;
    pieces.splice(at, 2, pieces[at] + pieces[at + 1]);
  }
}
