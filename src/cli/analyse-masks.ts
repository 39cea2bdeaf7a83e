import { type Command, Option } from "commander";
import { UserError } from "../errors.ts";
import { analyseMasks } from "../methods/router/analyse.ts";
import { analysisPage } from "../methods/router/analysis-page.ts";
import type { Combination } from "../methods/router/phoible.ts";
import { writeAtomically } from "../weights/file.ts";
import { collect, newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  phoible?: string;
  language: string[];
  combine: Combination;
  permutations: number;
  backbone?: string;
  out?: string;
}

export function command(): Command {
  return newCommand(
    "masks",
    "Compares the masks of several tasks layer by layer, clusters the tasks, and sets mask similarity against that of phoneme inventories.",
    [
      "analyse masks runs/nld runs/fra runs/ita --phoible ../shared/data/phoible/inventories.tsv --out masks.html",
    ],
  )
    .argument("<run...>", "folders of finished runs with masks, or packs")
    .option("--phoible <file>", "PHOIBLE's inventories (a table with InventoryID, ISO6393 and Phoneme)")
    .option(
      "--language <name=code>",
      "ISO 639-3 code of a task (default: its run's name); may be repeated",
      collect,
      [],
    )
    .addOption(
      new Option(
        "--combine <how>",
        "several inventories of a language: phonemes of at least half of them, of any, or shares",
      )
        .choices(["majority", "union", "mean"])
        .default("majority"),
    )
    .option("--permutations <n>", "of the permutation tests", whole, 9999)
    .option("--backbone <model>", "the backbone of packs (default: where their runs had it)")
    .option("--out <file>", "write a page with heat maps, dendrogram and scatter")
    .action(async (paths: string[], options: Options) => {
      const languages = new Map(
        options.language.map((text): [string, string] => {
          const [name, code] = text.split("=");
          if (!name || !code)
            throw new UserError(`--language ${text}: must have the form NAME=CODE, such as dutch=nld`);
          return [name, code];
        }),
      );
      const analysis = analyseMasks(paths, { ...options, languages });
      const { tasks, layers, inventories } = analysis;
      if (options.out !== undefined) {
        const text = await analysisPage(analysis);
        writeAtomically(options.out, (put) => put(Buffer.from(text)));
      }
      const lines = layers.map(({ part, cosine, phi }) => {
        const of = (matrix: readonly (readonly number[])[]) => {
          const values = matrix.flatMap((row, i) => row.slice(0, i));
          const mean = values.reduce((a, b) => a + b, 0) / values.length;
          return `${mean.toFixed(4)} (${Math.min(...values).toFixed(4)} to ${Math.max(...values).toFixed(4)})`;
        };
        return `${part}: mean cosine ${of(cosine)}, mean phi ${of(phi)}`;
      });
      const shown = inventories?.associations.filter(({ part }) => part === layers[0].part) ?? [];
      for (const { part, measure, pearson, spearman } of shown)
        lines.push(
          `${part}, ${measure} against inventories: Pearson ${pearson.value.toFixed(3)} (p ${pearson.p.toFixed(4)}), Spearman ${spearman.value.toFixed(3)} (p ${spearman.p.toFixed(4)}), ${pearson.pairs} pairs`,
        );
      if (options.out !== undefined) lines.push(`${options.out}: heat maps of ${tasks.length} tasks`);
      printResult(options, analysis, lines.join("\n"));
    });
}
