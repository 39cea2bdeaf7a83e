import { describe, expect, it } from "vitest";
import { SentencePieceModel } from "../../src/corpus/sentence-piece.ts";
import { UserError } from "../../src/errors.ts";
import { fixture } from "../trajectories/reference.ts";

// scripts/reference/sentence-piece.py: models that SentencePiece trained, and what it makes of texts with them.
const models =
  fixture<{ kind: string; rule: string; model: string; pieces: string[]; encoded: [string, string[]][] }[]>(
    "sentence-piece.json",
  );
const bytesOf = ({ model }: (typeof models)[number]) => new Uint8Array(Buffer.from(model, "base64"));

describe.each(models.map((model) => [`${model.kind}, ${model.rule}`, model] as const))("%s", (_, known) => {
  const model = SentencePieceModel.parse(bytesOf(known));

  it("has SentencePiece's pieces", () => {
    expect(model.pieces).toEqual(known.pieces.filter((piece) => !/^<.*>$/.test(piece)));
  });

  it.each(known.encoded)("cuts %j as SentencePiece does", (text, wanted) => {
    const own = new Set(model.pieces);
    // Neighbours that it does not know are one piece to SentencePiece, and letters here.
    const joined: string[] = [];
    let unknown = false;
    for (const piece of model.encode(text)) {
      if (unknown && !own.has(piece)) joined.push(joined.pop() + piece);
      else joined.push(piece);
      unknown = !own.has(piece);
    }
    expect(joined).toEqual(wanted);
  });
});

it("says what it cannot read", () => {
  const fails = (bytes: Uint8Array) => expect(() => SentencePieceModel.parse(bytes, "m.model"));
  fails(new Uint8Array()).toThrow("m.model: is no SentencePiece model: it has no pieces");
  fails(new TextEncoder().encode("plain text")).toThrow(/m\.model: is no SentencePiece model: /);
  const whole = bytesOf(models[0]);
  // Cut anywhere it is refused in a sentence, or, between two pieces, has fewer of them.
  for (let size = 1; size < 300; size++)
    try {
      expect(SentencePieceModel.parse(whole.subarray(0, size)).pieces.length).toBeLessThan(40);
    } catch (error) {
      expect(error).toBeInstanceOf(UserError);
    }
  expect(() => SentencePieceModel.open("/none.model")).toThrow("/none.model: does not exist");
  // A user-defined symbol (type 4) and a model of whole words (type 3).
  const piece = (type: number) => Uint8Array.of(10, 5, 10, 1, 97, 24, type);
  fails(piece(4)).toThrow(/m\.model: has user-defined symbols, which are not read here/);
  fails(Uint8Array.of(...piece(1), 18, 2, 24, 3)).toThrow(/m\.model: is a model of words; bpe and unigram/);
});
