import { existsSync } from "node:fs";
import { join } from "node:path";
import { readLines } from "../formats/table.ts";
import type { Utterance } from "../manifest.ts";
import { filesBelow, firstOf, need, type Reader, stem } from "./reader.ts";

const layout =
  "quesst14Database with Audio/*.wav, dev_queries/*.wav, eval_queries/*.wav and language_key_*.lst";

/** QUESST 2014 (MediaEval): spoken queries, and the recordings to find them in. */
export const quesst14: Reader = {
  title: "QUESST 2014: query by example in six languages",
  layout,
  options: {
    language:
      "one language only: nnenglish (which is SUPERB's task), albanian, basque, czech, romanian, slovak",
  },
  download: {
    url: "https://speech.fit.vutbr.cz/software/quesst-2014-multilingual-database-query-by-example-keyword-spotting",
    licence: "see the distribution",
    archives: {
      all: {
        url: "https://speech.fit.vutbr.cz/files/quesst14Database.tgz",
        hash: "sha256:4f869e06bc066bbe9c5dde31dbd3909a0870d70291110ebbb38878dcbc2fc5e4",
      },
    },
  },
  read(folder, options) {
    const root = firstOf(folder, "quesst14Database") ?? folder;
    const parts = [
      { files: "Audio", key: "language_key_utterances.lst", role: "document", split: "test" },
      { files: "dev_queries", key: "language_key_dev.lst", role: "query", split: "valid" },
      { files: "eval_queries", key: "language_key_eval.lst", role: "query", split: "test" },
    ];
    return parts.flatMap(({ files, key, role, split }) => {
      const languages = readLanguages(firstOf(root, key, `scoring/${key}`));
      return filesBelow(need(root, files, layout), ".wav").flatMap((file): Utterance[] => {
        const id = stem(file);
        const language = languages.get(id);
        if (options.language !== undefined && language !== options.language) return [];
        const labels = { role, ...(language !== undefined && { language }) };
        return [{ id: `${files}-${id}`, audio: join(root, files, file), labels, split }];
      });
    });
  },
};

/** "Audio/quesst14_00001.wav nnenglish" */
function readLanguages(path: string | undefined): Map<string, string> {
  if (path === undefined || !existsSync(path)) return new Map();
  return new Map(
    readLines(path).map(({ text }) => {
      const [file, language] = text.trim().split(/\s+/);
      return [stem(file), language];
    }),
  );
}
