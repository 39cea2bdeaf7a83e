import { RunError, UserError } from "../errors.ts";

/**
 * What stops a run with a sentence: a `UserError` before training starts, a `RunError` while it runs. Sample rates,
 * labels outside a vocabulary and speakers on both sides of a split are refused where they are read, in corpus/.
 */

/** Where a named parameter lies in a flat buffer. */
export interface Slot {
  name: string;
  offset: number;
  size: number;
}

/** Stops at the first NaN or infinity and names the value: a loss, or the norm of all gradients. */
export function checkFinite(name: string, value: number, step: number): void {
  if (!Number.isFinite(value))
    throw new RunError(
      `${name} became ${value} at step ${step}; a lower learning rate, more warm-up or gradient clipping may help`,
    );
}

/** `checkFinite` for a flat buffer of gradients or parameters: names the parameter that holds the first bad element. */
export function checkBuffer(kind: string, buffer: Float32Array, slots: readonly Slot[], step: number): void {
  // A sum is NaN or infinite if any element is; only then is each looked at. Finite elements cannot overflow a double.
  let sum = 0;
  for (let i = 0; i < buffer.length; i++) sum += buffer[i];
  if (Number.isFinite(sum)) return;
  for (const { name, offset, size } of slots) {
    const bad = buffer.subarray(offset, offset + size).find((x) => !Number.isFinite(x));
    if (bad !== undefined) checkFinite(`${kind} of ${name}`, bad, step);
  }
}

/** How many evaluations in a row a CTC head has heard nothing at all; plain data, stored with a checkpoint. */
export type BlankStreaks = Record<string, number>;

/**
 * The streaks after an evaluation; `symbols` counts what each CTC objective's greedy decoding wrote. Throws once an
 * objective has been silent `limit` times in a row (0: never).
 */
export function checkBlank(
  streaks: BlankStreaks,
  symbols: Record<string, number>,
  limit: number,
  step: number,
): BlankStreaks {
  const next = Object.fromEntries(
    Object.entries(symbols).map(([name, count]) => [name, count > 0 ? 0 : (streaks[name] ?? 0) + 1]),
  );
  const silent = Object.keys(next).find((name) => limit > 0 && next[name] >= limit);
  if (silent)
    throw new RunError(
      `objective ${silent} has output nothing but blanks in ${limit} evaluations in a row, up to step ${step}; it needs more steps, another learning rate, or shorter targets`,
    );
  return next;
}

/**
 * The streaks after an evaluation, of objectives whose codes have collapsed: fewer in use (`perplexities`) than `codes`.
 * Throws once one has been so `evaluations` times in a row (0: never).
 */
export function checkCollapse(
  streaks: Readonly<Record<string, number>>,
  perplexities: Readonly<Record<string, number>>,
  { codes, evaluations }: { readonly codes: number; readonly evaluations: number },
  step: number,
): Record<string, number> {
  const next = Object.fromEntries(
    Object.entries(perplexities).map(([name, value]) => [name, value < codes ? (streaks[name] ?? 0) + 1 : 0]),
  );
  const collapsed = Object.keys(next).find((name) => evaluations > 0 && next[name] >= evaluations);
  if (collapsed)
    throw new RunError(
      `objective ${collapsed} has used fewer than ${codes} codes (perplexity ${perplexities[collapsed].toPrecision(3)}) in ${evaluations} evaluations in a row, up to step ${step}: it has collapsed; a larger diversity weight, a lower learning rate or more warm-up may help`,
    );
  return next;
}

/** The fewest frames CTC can align targets to: one each, and a blank between two equal ones. */
export function framesNeeded(targets: readonly number[]): number {
  let frames = targets.length;
  for (let i = 1; i < targets.length; i++) if (targets[i] === targets[i - 1]) frames++;
  return frames;
}

/** Utterances whose CTC targets need more frames than there are: refused by name, or returned to be left out. */
export function checkTargets(
  utterances: readonly { id: string; frames: number; targets: readonly number[] }[],
  objective: string,
  mode: "refuse" | "skip",
): string[] {
  const long = utterances.filter(({ frames, targets }) => framesNeeded(targets) > frames);
  if (long.length > 0 && mode === "refuse") {
    const [{ id, frames, targets }] = long;
    throw new UserError(
      `objective ${objective}: ${plural(long.length, "utterance")} (${list(long.map((u) => u.id))}) ${long.length > 1 ? "have" : "has"} more targets than frames (${id}: ${frames} frames, ${framesNeeded(targets)} needed); set guards.longTargets=skip to leave them out, or zeroInfinity to count them as 0`,
    );
  }
  return long.map((u) => u.id);
}

const plural = (n: number, word: string) => `${n} ${word}${n === 1 ? "" : "s"}`;

function list(names: readonly string[], limit = 5): string {
  const more = names.length - limit;
  return names.slice(0, limit).join(", ") + (more > 0 ? `, ... ${more} more` : "");
}
