import { serve } from "../corpus/worker-pool.ts";
import { extractFeatures } from "./features-sets.ts";

serve(extractFeatures, ({ values }) => (values.buffer instanceof ArrayBuffer ? [values.buffer] : []));
