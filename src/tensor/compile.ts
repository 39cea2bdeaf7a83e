import { type Graph, verify } from "./graph.ts";
import { foldConstants, joinAlike, lower, type MakeConstant, shareCommon, simplify } from "./passes/local.ts";

/** Brings a traced graph into the form that is written: lowered, simplified, folded, each value computed once. */
export function optimise(graph: Graph, constant: MakeConstant): Graph {
  let out = verify(graph, "tracing");
  out = verify(lower(out), "lower");
  out = verify(shareCommon(out), "shareCommon");
  out = verify(simplify(out), "simplify");
  out = verify(foldConstants(out, constant), "foldConstants");
  out = verify(shareCommon(out), "shareCommon");
  return verify(joinAlike(out), "joinAlike");
}
