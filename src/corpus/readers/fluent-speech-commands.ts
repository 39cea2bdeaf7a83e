import { join } from "node:path";
import { readTable, requireColumns } from "../formats/table.ts";
import { need, type Reader, stem } from "./reader.ts";

const layout =
  "data/{train,valid,test}_data.csv (path, speakerId, transcription, action, object, location) and wavs/speakers/...";

/** Fluent Speech Commands. */
export const fluentSpeechCommands: Reader = {
  title: "Fluent Speech Commands: intents of action, object and location",
  layout,
  options: {},
  read(folder) {
    return ["train", "valid", "test"].flatMap((split) => {
      const table = readTable(need(folder, `data/${split}_data.csv`, layout));
      requireColumns(table, ["path", "speakerId", "transcription", "action", "object", "location"]);
      return table.rows.map(({ cells }) => {
        const { path, speakerId, transcription, action, object, location } = cells;
        // All three must be right, so the triple is a class of its own too.
        const labels = { action, object, location, intent: `${action} ${object} ${location}` };
        const id = `${speakerId}-${stem(path)}`;
        return { id, audio: join(folder, path), speaker: speakerId, text: transcription, labels, split };
      });
    });
  },
};
