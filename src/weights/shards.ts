import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { quote, UserError } from "../errors.ts";
import { reason } from "./file.ts";
import { infoOf, joined, type TensorFile } from "./tensor-file.ts";

/** Reads a JSON file whose top level is an object. */
export function readJsonObject(path: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UserError(`${path}: ${reason(error)}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${path}: is not valid JSON (${(error as Error).message})`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UserError(`${path}: must hold a JSON object`);
  }
  return value as Record<string, unknown>;
}

/**
 * Opens the shards that a `*.index.json` lists (`weight_map`: tensor name to file beside the index) as one. Each tensor
 * must lie in the shard the index names and in no other.
 */
export function openShards(indexPath: string, open: (path: string) => TensorFile): TensorFile {
  const map = readJsonObject(indexPath)["weight_map"];
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw new UserError(`${indexPath}: must hold an object "weight_map" from tensor names to shard files`);
  }
  const shardNames = new Map<string, string>(Object.entries(map));
  const shards = new Map<string, TensorFile>();
  try {
    for (const [name, shardName] of shardNames) {
      // The index may come from anywhere: it must not reach outside its folder.
      if (typeof shardName !== "string" || basename(shardName) !== shardName || shardName === "..") {
        throw new UserError(`${indexPath}: "${name}" lies in ${quote(shardName)}, which is not a file name`);
      }
      let shard = shards.get(shardName);
      if (!shard) {
        shard = open(join(dirname(indexPath), shardName));
        shards.set(shardName, shard);
      }
      infoOf(shard.path, shard.infos, name);
    }
    for (const [shardName, shard] of shards) {
      for (const name of shard.infos.keys()) {
        if (shardNames.get(name) === shardName) continue;
        throw new UserError(
          `${shard.path}: holds "${name}", which ${basename(indexPath)} does not place there`,
        );
      }
    }
    return joined(indexPath, [...shards.values()]);
  } catch (error) {
    for (const shard of shards.values()) shard.close();
    throw error;
  }
}
