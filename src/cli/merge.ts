import { type Command, InvalidArgumentError } from "commander";
import { writeMerge } from "../merge/merge.ts";
import { formatMergePlan, openModels } from "../merge/models.ts";
import { DOES, METHODS, type MergeSpec, mergeSpec } from "../merge/spec.ts";
import { inheritLineage } from "../train/lineage.ts";
import { locateModels } from "../train/locate.ts";
import { progress } from "../train/progress.ts";
import { newCommand, printResult } from "./command.ts";
import { type MergeOptions, number, withMergeOptions } from "./merge-options.ts";
import { sweepCommand } from "./merge-sweep.ts";

type Options = MergeOptions & {
  alpha?: number;
  out?: string;
  plan?: boolean;
  json?: boolean;
};

export function command(): Command {
  const methods = METHODS.map((method) => `  ${method}: ${DOES[method]}`).join("\n");
  const merge = newCommand(
    "merge",
    "Merges models that were tuned from one base, tensor by tensor, into a model folder of the base's form. The plan is printed first.",
    [
      "merge models/base runs/phones --alpha 0.25 --out models/merged",
      "merge models/base runs/phones runs/speakers --method ties --density 0.2 --out models/merged",
      "merge models/base runs/phones runs/speakers --method arithmetic --weights 1,-0.5 --plan",
      "merge sweep models/base runs/phones --alphas 0,0.25,1 --tasks miniature --seeds 3 --out runs/sweep",
    ],
  )
    .argument(
      "<base>",
      "the model that the others were tuned from: a folder, a checkpoint file or a name of the hub",
    )
    .argument("<tuned...>", "models that were tuned from it, such as run folders")
    .option("--out <folder>", "where the merged model goes")
    .option("--alpha <number>", "how far to go from the base; 0.25, but 1 for arithmetic and dare", number)
    .option("--plan", "only print what would become of each tensor");
  return withMergeOptions(merge)
    .addHelpText("after", `\nMethods:\n${methods}`)
    .enablePositionalOptions()
    .addCommand(sweepCommand())
    .action(async (baseName: string, tunedNames: string[], options: Options) => {
      const { out, plan, json, ...given } = options;
      if (!plan && out === undefined)
        throw new InvalidArgumentError("--out is missing: where the merged model goes");
      const spec = mergeSpec(given, tunedNames.length);
      const log = (line: string) => void process.stderr.write(`${line}\n`);
      const [base, ...tuned] = await locateModels([baseName, ...tunedNames], log);
      const models = openModels(base, tuned, spec);
      try {
        const said = formatMergePlan(models.lines);
        const heading = `${spec.method}: ${DOES[spec.method]}; ${settings(spec)}`;
        const result = { ...spec, base, tuned, out, plan: models.lines };
        if (plan) {
          printResult({ json }, result, [heading, ...said].join("\n"));
          return;
        }
        for (const line of [heading, ...said]) log(line);
        const shown = progress({ label: "merging", total: 100 });
        writeMerge(models, spec, out!, {
          onProgress: (done, total) => shown.update(Math.round((100 * done) / total)),
          finish: (folder) => inheritLineage(folder, [base, ...tuned]),
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
