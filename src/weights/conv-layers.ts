import { quote, UserError } from "../errors.ts";
import type { Plain } from "./plain-data.ts";

const DEFAULT_CONV = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2";
const TERM = /^\[((?:\(\d+,\d+,\d+\),?)*)\](?:\*(\d+))?$/;

/**
 * The convolutions (dim, kernel, stride) from fairseq's Python expression, such as `[(512,10,5)] + [(512,3,2)] * 4`.
 * fairseq evaluates it; we read lists of triples, sums and repetitions and nothing else.
 */
export function convLayers(path: string, text: Plain | undefined): [number, number, number][] {
  const expression = text ?? DEFAULT_CONV;
  const fail = (): never => {
    throw new UserError(
      `${path}: has conv_feature_layers ${quote(typeof expression === "string" ? expression : "of no text")}, ` +
        `which is not a sum of lists of (dim, kernel, stride)`,
    );
  };
  if (typeof expression !== "string" || expression.length > 2000) return fail();
  const layers: [number, number, number][] = [];
  for (const term of expression.replace(/\s/g, "").split("+")) {
    const match = TERM.exec(term) ?? fail();
    const triples = [...match[1].matchAll(/\((\d+),(\d+),(\d+)\)/g)];
    const times = Number(match[2] ?? 1);
    if (times > 100 || layers.length + times * triples.length > 100) return fail();
    for (let i = 0; i < times; i++) {
      for (const [, dim, kernel, stride] of triples)
        layers.push([Number(dim), Number(kernel), Number(stride)]);
    }
  }
  return layers.length ? layers : fail();
}
