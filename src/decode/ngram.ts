/** Back-off n-gram models (Katz 1987) from ARPA files, held as one trie in flat arrays. */
import { quote, UserError } from "../errors.ts";

/**
 * What the model remembers of the words so far: the longest history that it knows, and all shorter ones, as entries of the levels
 * (-1 where a shorter one is unknown). A beam drops most histories before anything follows them, so they are looked up when first asked for.
 */
export class History {
  private readonly levels: readonly Level[];
  private found: readonly number[] | undefined;
  private before: readonly number[] | undefined;
  private readonly word: number;
  private readonly size: number;

  /** The last `size` words: `word`, after those of `before`. */
  constructor(levels: readonly Level[], before: readonly number[] | undefined, word: number, size: number) {
    this.levels = levels;
    this.before = before;
    this.word = word;
    this.size = size;
  }

  /** Entry k is that of the last k + 1 words in level k. */
  entries(): readonly number[] {
    if (this.found !== undefined) return this.found;
    const { levels, before = [], word, size } = this;
    const found: number[] = [];
    for (let k = 0; k < size; k++)
      if (k === 0) found.push(word);
      else found.push(before[k - 1] < 0 ? -1 : child(levels, k - 1, before[k - 1], word));
    this.found = found;
    this.before = undefined;
    return found;
  }
}

export interface NgramModel {
  order: number;
  /** Word of each index. */
  words: readonly string[];
  /** Index of a word; that of `<unk>` (or -1 where the model has none) for a word it does not know. */
  index(word: string): number;
  /** No history at all. */
  none: History;
  /** History at the start of a sentence. */
  start: History;
  /** Natural log probability of `word` (an index) after `history`, and the history that follows. */
  score(history: History, word: number): { logProb: number; history: History };
  /** Natural log probability that the sentence ends here. */
  end(history: History): number;
  /** Its n-grams, for writing them down. */
  levels: readonly Level[];
}

/** Log10 probability of a word that is unknown to a model without `<unk>`, as KenLM has it. */
const unknownLog10 = -100;

/** N-grams of one order, sorted by parent (their first n - 1 words), then by last word. */
export interface Level {
  word: Int32Array;
  logProb: Float32Array;
  backoff: Float32Array;
  /** Children of entry i are entries first[i] to first[i + 1] of the next level. */
  first: Int32Array;
}

/** Reads an ARPA file given as text or as lines. Errors name the file and the line. */
export function readArpa(source: string | Iterable<string>, name = "ARPA file"): NgramModel {
  const parser = arpaParser(name);
  for (const line of typeof source === "string" ? source.split("\n") : source) parser.line(line);
  return parser.finish();
}

/** For files too large to hold as text: feed lines as they come, then `finish`. */
export function arpaParser(name = "ARPA file"): { line(text: string): void; finish(): NgramModel } {
  let number = 0;
  const fail = (message: string): never => {
    throw new UserError(`${name}, line ${number}: ${message}`);
  };
  const counts: number[] = [];
  const words: string[] = [];
  const indices = new Map<string, number>();
  const levels: Level[] = [];
  let state: "before" | "counts" | "ngrams" | "after" = "before";
  let entries: Entries | undefined;

  const close = () => {
    if (!entries) return;
    const { order, size } = entries;
    if (size !== counts[order - 1])
      fail(`${size} ${order}-grams are listed, the header announces ${counts[order - 1]}`);
    addLevel(levels, entries, words.length);
    entries = undefined;
  };

  const ngram = (text: string, into: Entries) => {
    const { order } = into;
    const fields = text.split(/\s+/);
    if (fields.length !== order + 1 && fields.length !== order + 2)
      fail(`expected a probability, ${order} words and perhaps a back-off weight, got ${quote(text)}`);
    const [logProb, backoff] = [Number(fields[0]), Number(fields[order + 1] ?? 0)];
    if (Number.isNaN(logProb) || Number.isNaN(backoff) || logProb > 0)
      fail(
        `${quote(fields[0])} and ${quote(fields[order + 1] ?? "")} are not a log probability and a weight`,
      );
    if (into.size >= counts[order - 1]) fail(`more ${order}-grams than the ${counts[order - 1]} announced`);
    let parent = 0;
    let word: number;
    if (order === 1) {
      if (indices.has(fields[1])) fail(`the word ${quote(fields[1])} is listed twice`);
      word = words.push(fields[1]) - 1;
      indices.set(fields[1], word);
    } else {
      const path = fields
        .slice(1, order + 1)
        .map((w) => indices.get(w) ?? fail(`${quote(w)} is not among the 1-grams`));
      word = path[order - 1];
      parent = find(levels, path.slice(0, -1));
      if (parent < 0)
        fail(`the beginning of ${quote(fields.slice(1, -1).join(" "))} is not among the ${order - 1}-grams`);
    }
    into.parent[into.size] = parent;
    into.word[into.size] = word;
    into.logProb[into.size] = logProb * Math.LN10;
    // The highest order has none.
    if (into.backoff.length > 0) into.backoff[into.size] = backoff * Math.LN10;
    into.size++;
  };

  return {
    line(raw) {
      number++;
      const text = raw.trim();
      if (text === "" || state === "after") return;
      const section = text.match(/^\\(\d+)-grams:$/);
      if (state === "before") {
        if (text === "\\data\\") state = "counts";
      } else if (section) {
        close();
        const order = Number(section[1]);
        if (order !== levels.length + 1 || order > counts.length) fail(`unexpected section ${text}`);
        entries = newEntries(order, counts[order - 1], order === counts.length);
        state = "ngrams";
      } else if (text === "\\end\\") {
        close();
        state = "after";
      } else if (state === "counts") {
        const count = text.match(/^ngram\s+(\d+)\s*=\s*(\d+)$/);
        if (!count || Number(count[1]) !== counts.length + 1)
          fail(`expected "ngram ${counts.length + 1}=...", got ${quote(text)}`);
        counts.push(Number(count![2]));
      } else ngram(text, entries!);
    },
    finish() {
      if (state !== "after" || levels.length !== counts.length || levels.length === 0)
        throw new UserError(
          `${name}: not a whole ARPA file; it must run from \\data\\ through all n-grams to \\end\\`,
        );
      return ngramModel(levels, words, indices);
    },
  };
}

interface Entries extends Omit<Level, "first"> {
  order: number;
  size: number;
  parent: Int32Array;
}

function newEntries(order: number, count: number, highest: boolean): Entries {
  return {
    order,
    size: 0,
    parent: new Int32Array(count),
    word: new Int32Array(count),
    logProb: new Float32Array(count),
    backoff: new Float32Array(highest ? 0 : count),
  };
}

/** Sorts the entries by parent and word, and tells the level above where its children begin. */
function addLevel(levels: Level[], entries: Entries, words: number): void {
  const { parent, word, logProb, backoff, size } = entries;
  const above = levels[levels.length - 1];
  const order = new Uint32Array(size);
  for (let i = 0; i < size; i++) order[i] = i;
  if (above) {
    // Two stable counting sorts, by word and then by parent: linear, where comparison sorts of 10^8 entries would not be.
    const byWord = new Uint32Array(size);
    countingSort(order, word, words, byWord);
    above.first = countingSort(byWord, parent, above.word.length, order);
  }
  // The largest model is larger than half the memory of many machines: as few copies as can be.
  const pick = <A extends Int32Array | Float32Array>(from: A, to: A): A => {
    for (let i = 0; i < from.length; i++) to[i] = from[order[i]];
    return to;
  };
  levels.push({
    word: pick(word, new Int32Array(size)),
    logProb: pick(logProb, new Float32Array(size)),
    backoff: pick(backoff, new Float32Array(backoff.length)),
    first: new Int32Array(backoff.length > 0 ? size + 1 : 0),
  });
}

/** Writes `order` sorted by its keys; where each key's entries begin. */
function countingSort(
  order: Uint32Array,
  keys: Int32Array,
  kinds: number,
  sorted: Uint32Array,
): Int32Array<ArrayBuffer> {
  const first = new Int32Array(kinds + 1);
  for (let i = 0; i < order.length; i++) first[keys[order[i]] + 1]++;
  for (let k = 0; k < kinds; k++) first[k + 1] += first[k];
  const next = first.slice();
  for (let i = 0; i < order.length; i++) sorted[next[keys[order[i]]]++] = order[i];
  return first;
}

/** Entry of a word sequence in the level of its length, or -1. */
function find(levels: readonly Level[], path: readonly number[]): number {
  let at = path[0];
  if (at < 0) return -1;
  for (let n = 1; n < path.length && at >= 0; n++) at = child(levels, n - 1, at, path[n]);
  return at;
}

/** Child `word` of an entry of level `n` (its entry in level n + 1), or -1: binary search. */
function child(levels: readonly Level[], n: number, entry: number, word: number): number {
  let [low, high] = [levels[n].first[entry], levels[n].first[entry + 1] - 1];
  const list = levels[n + 1].word;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (list[middle] === word) return middle;
    if (list[middle] < word) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/** A model of the trie's levels, by order, over its words. */
export function ngramModel(
  levels: readonly Level[],
  words: readonly string[],
  indices: ReadonlyMap<string, number> = new Map(words.map((word, i) => [word, i])),
): NgramModel {
  const order = levels.length;
  const unknown = indices.get("<unk>") ?? indices.get("<UNK>") ?? -1;
  const stop = indices.get("</s>") ?? -1;
  const none = new History(levels, undefined, -1, 0);
  const score = (history: History, word: number): { logProb: number; history: History } => {
    const entries = history.entries();
    let penalty = 0;
    for (let k = entries.length - 1; k >= 0; k--) {
      const entry = entries[k];
      if (entry < 0) continue;
      const next = word < 0 ? -1 : child(levels, k, entry, word);
      if (next >= 0)
        return {
          logProb: penalty + levels[k + 1].logProb[next],
          history: new History(levels, entries, word, Math.min(k + 2, order - 1)),
        };
      penalty += levels[k].backoff[entry];
    }
    if (word < 0) return { logProb: penalty + unknownLog10 * Math.LN10, history: none };
    return {
      logProb: penalty + levels[0].logProb[word],
      history: order > 1 ? new History(levels, entries, word, 1) : none,
    };
  };
  const begin = indices.get("<s>");
  return {
    order,
    words,
    levels,
    index: (word) => indices.get(word) ?? unknown,
    none,
    start: begin === undefined || order === 1 ? none : new History(levels, [], begin, 1),
    score,
    end: (history) => (stop < 0 ? 0 : score(history, stop).logProb),
  };
}
