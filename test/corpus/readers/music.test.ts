import { describe, expect, test } from "vitest";
import { read, tree } from "./tree.ts";

describe("music", () => {
  test("Medley-solos-DB and OpenMIC-2018", async () => {
    const id = "Medley-solos-DB_training-3_0a-b";
    tree(
      {
        "Medley-solos-DB_metadata.csv": [
          "subset,instrument,instrument_id,song_id,uuid4",
          "training,flute,3,17,0a-b",
        ],
      },
      `${id}.wav`,
    );
    expect(await read("medley-solos-db")).toEqual([
      { id, audio: `${id}.wav`, speaker: "song17", labels: { instrument: "flute" }, split: "train" },
    ]);
    tree(
      {
        "openmic-2018/openmic-2018-aggregated-labels.csv": [
          "sample_key,instrument,relevance,num_responses",
          "000046_3840,clarinet,0.17105,3",
          "000046_3840,flute,0,3",
        ],
        "openmic-2018/partitions/split01_train.csv": ["000046_3840"],
        "openmic-2018/partitions/split01_test.csv": [],
      },
      "openmic-2018/audio/000/000046_3840.ogg",
    );
    expect(await read("openmic-2018")).toEqual([
      {
        id: "000046_3840",
        audio: "openmic-2018/audio/000/000046_3840.ogg",
        labels: { clarinet: 0.17105, flute: 0 },
        split: "train",
      },
    ]);
  });

  test("AudioSet: descendants of a class only", async () => {
    tree(
      {
        "ontology.json": JSON.stringify([
          { id: "/m/04szw", name: "Musical instrument", child_ids: ["/m/0342h"] },
          { id: "/m/0342h", name: "Guitar", child_ids: [] },
          { id: "/m/0bt9lr", name: "Dog", child_ids: [] },
        ]),
        "balanced_train_segments.csv": [
          "# Segments csv created",
          '--4gqARaEJE, 0.000, 10.000, "/m/0342h,/m/0bt9lr"',
          'abc, 5.000, 15.000, "/m/0bt9lr"',
        ],
        "eval_segments.csv": ['xyz, 30.000, 40.000, "/m/0342h"'],
      },
      "clips/--4gqARaEJE.wav",
      "clips/abc.wav",
      "clips/xyz_30.wav",
    );
    expect(await read("audioset")).toEqual([
      {
        id: "--4gqARaEJE",
        audio: "clips/--4gqARaEJE.wav",
        duration: 10,
        split: "train",
        labels: { Guitar: 1 },
      },
      { id: "xyz", audio: "clips/xyz_30.wav", duration: 10, split: "test", labels: { Guitar: 1 } },
    ]);
  });
});
