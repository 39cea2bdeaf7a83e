import { existsSync } from "node:fs";
import { join } from "node:path";
import { readTable, requireColumns } from "../formats/table.ts";
import { clipOf } from "./common-voice.ts";
import { need, type Reader } from "./reader.ts";

const layout =
  "a Common Voice folder (clips/*.mp3) with covost_v2.en_de.tsv, or its .train, .dev and .test parts";

/** CoVoST 2: translations of Common Voice clips. */
export const covost: Reader = {
  title: "CoVoST 2: speech translation on Common Voice clips",
  layout,
  options: {
    pair: "languages, default en_de",
    table: "the table, where it is not in the Common Voice folder",
  },
  read(folder, options) {
    const name = `covost_v2.${options.pair ?? "en_de"}`;
    const parts = ["train", "dev", "test"].filter((part) => existsSync(join(folder, `${name}.${part}.tsv`)));
    const files: [string, string?][] =
      options.table === undefined && parts.length > 0
        ? parts.map((part) => [join(folder, `${name}.${part}.tsv`), part])
        : [[options.table ?? need(folder, `${name}.tsv`, layout)]];
    return files.flatMap(([path, part]) => {
      const table = readTable(path, { delimiter: "\t" });
      requireColumns(table, ["path", "sentence", "translation"]);
      return table.rows.map(({ cells }) => {
        const split = part ?? cells.split;
        return {
          ...clipOf(folder, cells),
          translation: cells.translation,
          ...(split && { split: split === "dev" ? "valid" : split }),
        };
      });
    });
  },
};
