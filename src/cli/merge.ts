import { type Command, InvalidArgumentError, Option } from "commander";
import { writeMerge } from "../merge/merge.ts";
import { formatMergePlan, openModels } from "../merge/models.ts";
import { DOES, METHODS, type MergeSpec, mergeSpec } from "../merge/spec.ts";
import { joinLineages, readLineage, writeLineage } from "../train/lineage.ts";
import { progress } from "../train/progress.ts";
import { newCommand, printResult } from "./command.ts";

type Options = Partial<Omit<MergeSpec, "method">> & {
  method: MergeSpec["method"];
  out?: string;
  plan?: boolean;
  json?: boolean;
};

export function command(): Command {
  const methods = METHODS.map((method) => `  ${method}: ${DOES[method]}`).join("\n");
  return newCommand(
    "merge",
    "Merges models that were tuned from one base, tensor by tensor, into a model folder of the base's form. The plan is printed first.",
    [
      "merge models/base runs/phones --alpha 0.25 --out models/merged",
      "merge models/base runs/phones runs/speakers --method ties --density 0.2 --out models/merged",
      "merge models/base runs/phones runs/speakers --method arithmetic --weights 1,-0.5 --plan",
    ],
  )
    .argument("<base>", "the model that the others were tuned from: a folder or a checkpoint file")
    .argument("<tuned...>", "models that were tuned from it, such as run folders")
    .option("--out <folder>", "where the merged model goes")
    .addOption(new Option("--method <name>", "how").choices(METHODS).default("interpolate"))
    .option("--alpha <number>", "how far to go from the base; 0.25, but 1 for arithmetic and dare", number)
    .option("--lambda <number>", "a factor beside alpha, for ties and arithmetic (default: 1)", number)
    .option(
      "--weights <list>",
      "a number for each tuned model; signs count in arithmetic (default: all 1)",
      numbers,
    )
    .option("--density <share>", "entries that ties (0.2) and dare (0.1) keep", number)
    .addOption(
      new Option(
        "--scope <name>",
        "ties: entries compete in the whole model or in their tensor (default: model)",
      ).choices(["model", "tensor"]),
    )
    .addOption(
      new Option(
        "--elect <name>",
        "signs elected by sum, by count or not (default: mass for ties, none for dare)",
      ).choices(["mass", "count", "none"]),
    )
    .option("--seed <n>", "dare: what is dropped follows from it (default: 1)", number)
    .addOption(
      new Option(
        "--weight-norm <name>",
        "merge weight normalisation as stored, as the paper does, or its effective weight (default: stored)",
      ).choices(["stored", "effective"]),
    )
    .addOption(
      new Option(
        "--heads <name>",
        "task heads: merged where all models have the same, or dropped (default: auto)",
      ).choices(["auto", "drop"]),
    )
    .option("--plan", "only print what would become of each tensor")
    .addHelpText("after", `\nMethods:\n${methods}`)
    .action((base: string, tuned: string[], options: Options) => {
      const { out, plan, json, ...given } = options;
      if (!plan && out === undefined)
        throw new InvalidArgumentError("--out is missing: where the merged model goes");
      const spec = mergeSpec(given, tuned.length);
      const models = openModels(base, tuned, spec);
      try {
        const said = formatMergePlan(models.lines);
        const heading = `${spec.method}: ${DOES[spec.method]}; ${settings(spec)}`;
        const result = { ...spec, base, tuned, out, plan: models.lines };
        if (plan) {
          printResult({ json }, result, [heading, ...said].join("\n"));
          return;
        }
        for (const line of [heading, ...said]) process.stderr.write(`${line}\n`);
        const shown = progress({ label: "merging", total: 100 });
        writeMerge(models, spec, out!, {
          onProgress: (done, total) => shown.update(Math.round((100 * done) / total)),
          finish: (folder) => {
            const known = [base, ...tuned].flatMap((path) => readLineage(path) ?? []);
            if (known.length > 0) writeLineage(folder, joinLineages(known));
          },
        });
        shown.end();
        printResult({ json }, result, `merged: ${out}`);
      } finally {
        models.close();
      }
    });
}

function settings(spec: MergeSpec): string {
  const { alpha, lambda, weights, density, scope, elect, seed, weightNorm, method } = spec;
  const parts = [`alpha ${alpha}`];
  if (lambda !== 1) parts.push(`lambda ${lambda}`);
  if (weights.some((w) => w !== 1)) parts.push(`weights ${weights.join(", ")}`);
  if (method === "ties" || method === "dare") parts.push(`density ${density}`);
  if (method === "ties") parts.push(`over each ${scope}`);
  if (elect !== "none") parts.push(`signs by ${elect}`);
  if (method === "dare") parts.push(`seed ${seed}`);
  parts.push(`weight normalisation ${weightNorm === "stored" ? "as stored" : "by its effective weight"}`);
  return parts.join(", ");
}

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("It must be a number.");
  return value;
}

const numbers = (text: string): number[] => text.split(",").map(number);
