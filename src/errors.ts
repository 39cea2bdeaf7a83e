/**
 * A fault in what the user gave us: a file, a manifest line, a recipe key, an option. The message is one sentence
 * that names the place and what would be right; the command line prints it without a stack and exits with 2.
 */
export class UserError extends Error {
  override name = "UserError";
}

/** A run that had to stop although its input was well formed (NaN, all-blank output, ...): exit status 1. */
export class RunError extends Error {
  override name = "RunError";
}

/** Names a faulty value in messages without flooding them. */
export function quote(value: unknown, limit = 60): string {
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > limit ? `${text.slice(0, limit)}...` : text;
}

/** The closest of `known` to `word`, for "did you mean" (edit distance at most a third of the word), else undefined. */
export function closest(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
