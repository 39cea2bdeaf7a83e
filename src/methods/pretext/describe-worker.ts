import { serve } from "../../corpus/worker-pool.ts";
import { describeUnits } from "./describe.ts";

serve(describeUnits, ({ data, candidates }) =>
  [data, ...candidates].map(({ buffer }) => buffer as ArrayBuffer),
);
