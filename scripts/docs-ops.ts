/**
 * Writes docs/ops.md from the operation objects: nothing on that page is kept by hand.
 *
 *     npm run docs-ops
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as ops from "../src/ops/index.ts";
import { optimise } from "../src/tensor/compile.ts";
import { operations } from "../src/tensor/define.ts";
import { type OnnxGraph, type OnnxNode, readOnnx } from "../src/tensor/onnx/read.ts";
import { writeOnnx } from "../src/tensor/onnx/write.ts";
import type { Op } from "../src/tensor/tensor.ts";
import { draw } from "../test/ops/check.ts";

export const PAGE = join(import.meta.dirname, "../docs/ops.md");

const code = (text: string) => `\`${text}\``;
const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ");

/** Node types that the samples of an operation become, those inside loops too. */
function nodeTypes(op: Op, contrib: boolean): string[] {
  const types = new Set<string>();
  const collect = (nodes: readonly OnnxNode[]) => {
    for (const { type, domain, attributes } of nodes) {
      types.add(domain === "" ? type : `${domain}.${type}`);
      for (const value of attributes.values())
        if (typeof value === "object" && "nodes" in value) collect((value as OnnxGraph).nodes);
    }
  };
  for (const sample of op.samples) {
    const { inputs, outputs } = draw(op, sample, 1);
    const graph = optimise(
      {
        inputs: inputs.map((tensor, i) => ({ name: `x${i}`, tensor })),
        outputs: outputs.map((tensor, i) => ({ name: `y${i}`, tensor })),
        late: [],
      },
      ops.constant,
    );
    collect(readOnnx(writeOnnx(graph, { target: { contrib } })).graph.nodes);
  }
  return [...types].sort();
}

function gradientOf({ vjp, samples }: Op): string {
  if ("nonDifferentiable" in vjp) return `none: ${vjp.nonDifferentiable}`;
  if ("each" in vjp) return "every input";
  const entries = vjp.map((entry, i) =>
    typeof entry === "function" ? `input ${i}` : `not input ${i}: ${entry.nonDifferentiable}`,
  );
  if (entries.length === 0) return samples.every(({ inputs }) => inputs.length === 0) ? "no inputs" : "none";
  return vjp.every((entry) => typeof entry === "function") && entries.length > 1
    ? "every input"
    : entries.join("; ");
}

function attributesOf({ samples }: Op): string {
  const names = new Set(samples.flatMap(({ attrs }) => Object.keys(attrs)));
  return names.size === 0 ? "-" : [...names].map(code).join(", ");
}

function section(op: Op): string {
  const own = nodeTypes(op, true);
  const standard = nodeTypes(op, false);
  const written = own.length === 0 ? "declared by the graph" : own.map(code).join(", ");
  const differs = own.join() !== standard.join();
  const traits = Object.entries(op.traits).flatMap(([name, value]) => (value ? [name] : []));
  return [
    `### ${op.name}`,
    "",
    op.doc,
    "",
    "| | |",
    "|---|---|",
    `| attributes | ${attributesOf(op)} |`,
    `| gradient | ${cell(gradientOf(op))} |`,
    `| ONNX nodes | ${written} |`,
    ...(differs ? [`| in the standard operator set alone | ${standard.map(code).join(", ")} |`] : []),
    ...(traits.length > 0 ? [`| traits | ${traits.join(", ")} |`] : []),
    "",
  ].join("\n");
}

export function page(): string {
  const all = [...operations().values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const differentiable = all.filter(
    ({ vjp }) => "each" in vjp || (Array.isArray(vjp) && vjp.some((entry) => typeof entry === "function")),
  ).length;
  return `# Operations

Generated from the operation objects in \`src/ops\` by \`npm run docs-ops\`; a test keeps it current. Each operation is one object
that holds its formula, shapes, ONNX form, gradient rule, float64 reference and the samples it is tested with
([architecture](architecture.md)). Everything else, layers and losses included, is a function made of these.

${all.length} operations, ${differentiable} with a gradient rule. All run on the processor; each is tested there twice, with ONNX Runtime's own
node types (\`com.microsoft\`) and in the standard operator set alone, which is what exported models use. The other targets are not
claimed yet.

${all.map(section).join("\n")}`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) writeFileSync(PAGE, page());
