import { readFileSync } from "node:fs";
import { UserError } from "../errors.ts";
import { reason } from "../weights/file.ts";
import { bestMerge } from "./merges.ts";

/**
 * A SentencePiece model (T. Kudo and J. Richardson, EMNLP 2018), read from its `.model` file: byte-pair encoding or a unigram
 * language model over pieces, of which those that begin a word carry "▁".
 */
export class SentencePieceModel {
  /** What text may be cut into, in the model's order; its marks (`<unk>`, `<s>`, `</s>`) are left out. */
  readonly pieces: readonly string[];
  private readonly scores: ReadonlyMap<string, number>;
  private readonly spec: Spec;
  private readonly unknownScore: number;
  private readonly longest: number;
  private readonly acrossWords: boolean;
  private readonly known = new Map<string, readonly string[]>();

  private constructor(spec: Spec) {
    this.spec = spec;
    this.pieces = spec.pieces.map(({ piece }) => piece);
    this.scores = new Map(spec.pieces.map(({ piece, score }) => [piece, score]));
    // As in SentencePiece: an unknown letter costs ten more than the worst piece.
    this.unknownScore = Math.min(...this.scores.values()) - 10;
    this.longest = Math.max(...this.pieces.map((piece) => [...piece].length));
    this.acrossWords = this.pieces.some((piece) => piece.indexOf(WORD, 1) > 0);
  }

  /** Opens a file. @throws UserError naming it and what of it is not understood */
  static open(path: string): SentencePieceModel {
    let bytes: Uint8Array;
    try {
      bytes = readFileSync(path);
    } catch (error) {
      throw new UserError(`${path}: ${reason(error)}`);
    }
    return SentencePieceModel.parse(bytes, path);
  }

  static parse(bytes: Uint8Array, path = "the SentencePiece model"): SentencePieceModel {
    const fail = (what: string): never => {
      throw new UserError(`${path}: ${what}`);
    };
    let spec: Spec;
    try {
      spec = specOf(bytes);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return fail(`is no SentencePiece model: ${error.message}`);
    }
    if (spec.unsupported !== undefined) fail(`has ${spec.unsupported}, which are not read here`);
    if (spec.pieces.length === 0) fail("is no SentencePiece model: it has no pieces");
    if (!(spec.normalizer in NORMALIZERS))
      fail(`normalises text by "${spec.normalizer}"; there are ${Object.keys(NORMALIZERS).join(", ")}`);
    if (spec.kind !== "bpe" && spec.kind !== "unigram")
      fail(`is a model of ${spec.kind}; bpe and unigram can be read`);
    return new SentencePieceModel(spec);
  }

  /** The pieces of a text; letters that no piece has stand by themselves. */
  encode(text: string): string[] {
    const normal = this.normalize(text);
    if (normal === "") return [];
    // Nearly all models cut at spaces first, so that a word is always cut alike.
    const parts = this.acrossWords ? [normal] : normal.split(new RegExp(`(?=${WORD})`, "u"));
    return parts.flatMap((part) => {
      let cut = this.known.get(part);
      if (cut === undefined) {
        cut = this.spec.kind === "bpe" ? this.merged(part) : this.likeliest(part);
        this.known.set(part, cut);
      }
      return cut;
    });
  }

  private normalize(text: string): string {
    let out = NORMALIZERS[this.spec.normalizer](text);
    if (this.spec.removeExtraSpaces) out = out.replace(/ +/g, " ").replace(/^ | $/g, "");
    if (out === "") return "";
    if (this.spec.addPrefix) out = ` ${out}`;
    if (!this.spec.escapeSpaces) return out;
    const escaped = out.replaceAll(" ", WORD);
    // A mark that stood in the text as such ends it no more than a space does.
    return this.spec.removeExtraSpaces ? escaped.replace(new RegExp(`${WORD}+$`, "u"), "") : escaped;
  }

  /** Byte-pair encoding: the neighbours with the best score are joined, the first of equals, until none are a piece. */
  private merged(text: string): string[] {
    return bestMerge([...text], (pair) => this.scores.get(pair));
  }

  /** The cut with the highest sum of scores. */
  private likeliest(text: string): string[] {
    const letters = [...text];
    const best = [0, ...letters.map(() => Number.NEGATIVE_INFINITY)];
    const from = new Int32Array(letters.length + 1);
    for (let start = 0; start < letters.length; start++) {
      let piece = "";
      for (let end = start + 1; end <= Math.min(letters.length, start + this.longest); end++) {
        piece += letters[end - 1];
        const score = this.scores.get(piece) ?? (end === start + 1 ? this.unknownScore : undefined);
        if (score === undefined || best[start] + score <= best[end]) continue;
        best[end] = best[start] + score;
        from[end] = start;
      }
    }
    const cut: string[] = [];
    for (let end = letters.length; end > 0; end = from[end])
      cut.unshift(letters.slice(from[end], end).join(""));
    return cut;
  }
}

const WORD = "▁";

interface Spec {
  readonly pieces: readonly { piece: string; score: number }[];
  readonly kind: string;
  readonly normalizer: string;
  readonly addPrefix: boolean;
  readonly removeExtraSpaces: boolean;
  readonly escapeSpaces: boolean;
  readonly unsupported?: string;
}

/** Code points that the NMT variants of its tables take out, and those that they make a space of. */
const GONE = [...range(1, 8), 0x0b, ...range(0x0e, 0x1f), 0x7f, 0x8f, 0x9f];
const SPACES = [
  0x09, 0x0a, 0x0c, 0x0d, 0x1680, 0x200b, 0x200e, 0x200f, 0x2028, 0x2029, 0x2581, 0xfeff, 0xfffd,
];
const REPLACED = new Map([
  ...GONE.map((code) => [code, ""] as const),
  ...SPACES.map((code) => [code, " "] as const),
]);

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

/** SentencePiece carries its rules as a compiled table; by name they are Unicode's NFKC, with these changes before it. */
const nfkc = (text: string): string => text.normalize("NFKC");
const nmt = (text: string): string =>
  nfkc(Array.from(text, (letter) => REPLACED.get(letter.codePointAt(0)!) ?? letter).join(""));
const NORMALIZERS: Readonly<Record<string, (text: string) => string>> = {
  identity: (text) => text,
  nfkc,
  nmt_nfkc: nmt,
  nfkc_cf: (text) => nfkc(text).toLowerCase(),
  nmt_nfkc_cf: (text) => nmt(text).toLowerCase(),
};

const KINDS = ["", "unigram", "bpe", "words", "characters"];
const UNSUPPORTED: Readonly<Record<number, string>> = { 4: "user-defined symbols", 6: "pieces of bytes" };
const NORMAL = 1;

/** The fields of sentencepiece_model.proto that matter here. */
function specOf(bytes: Uint8Array): Spec {
  const pieces: { piece: string; score: number }[] = [];
  let [kind, normalizer, addPrefix, removeExtraSpaces, escapeSpaces] = [1, "", true, true, true];
  let unsupported: string | undefined;
  for (const { field, value } of fieldsOf(bytes)) {
    if (field === 1) {
      const inner = new Map(fieldsOf(messageOf(value)).map((each) => [each.field, each.value]));
      const type = Number(inner.get(3) ?? NORMAL);
      unsupported ??= UNSUPPORTED[type];
      if (type === NORMAL)
        pieces.push({
          piece: textOf(inner.get(1)),
          score: floatOf(messageOf(inner.get(2) ?? new Uint8Array(4))),
        });
    } else if (field === 2) {
      for (const { field: own, value: set } of fieldsOf(messageOf(value))) if (own === 3) kind = Number(set);
    } else if (field === 3) {
      for (const { field: own, value: set } of fieldsOf(messageOf(value))) {
        if (own === 1) normalizer = textOf(set);
        if (own === 3) addPrefix = set === 1;
        if (own === 4) removeExtraSpaces = set === 1;
        if (own === 5) escapeSpaces = set === 1;
      }
    }
  }
  return {
    ...{ pieces, kind: KINDS[kind] ?? String(kind), normalizer: normalizer || "identity" },
    ...{ addPrefix, removeExtraSpaces, escapeSpaces, unsupported },
  };
}

type WireValue = number | Uint8Array;

/** The fields of a protobuf message in their order: numbers, or bytes (of four and eight byte values, too). */
function fieldsOf(bytes: Uint8Array): { field: number; value: WireValue }[] {
  const out: { field: number; value: WireValue }[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      if (at >= bytes.length || shift > 63) throw new RangeError("it ends within a number");
      const byte = bytes[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const [field, wire] = [Math.floor(tag / 8), tag % 8];
    if (wire === 0) {
      out.push({ field, value: varint() });
      continue;
    }
    const size = wire === 1 ? 8 : wire === 2 ? varint() : wire === 5 ? 4 : -1;
    if (size < 0 || field === 0) throw new RangeError(`byte ${at} begins no field`);
    if (at + size > bytes.length) throw new RangeError(`it ends within field ${field}`);
    out.push({ field, value: bytes.subarray(at, at + size) });
    at += size;
  }
  return out;
}

function messageOf(value: WireValue): Uint8Array {
  if (typeof value === "number") throw new RangeError("a number stands where a message should");
  return value;
}
const textOf = (value: WireValue | undefined): string =>
  value === undefined ? "" : new TextDecoder().decode(messageOf(value));
const floatOf = (bytes: Uint8Array): number =>
  new DataView(bytes.buffer, bytes.byteOffset).getFloat32(0, true);
