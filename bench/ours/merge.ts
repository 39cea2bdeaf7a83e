/** One merge in a process of its own, so that its peak memory is its own: `node merge.ts BASE TUNED OUT METHOD`. */
import { writeMerge } from "../../src/merge/merge.ts";
import { openModels } from "../../src/merge/models.ts";
import { type Method, mergeSpec } from "../../src/merge/spec.ts";

const [base, tuned, out, method] = process.argv.slice(2);
const start = performance.now();
const spec = mergeSpec({ method: method as Method }, 1);
const models = openModels(base, [tuned], spec);
writeMerge(models, spec, out);
models.close();
const { user, system } = process.cpuUsage();
const peakMB = process.resourceUsage().maxRSS / 1024;
console.log(JSON.stringify({ ms: performance.now() - start, cpuMs: (user + system) / 1000, peakMB }));
