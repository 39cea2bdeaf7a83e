import { serve } from "../../../corpus/worker-pool.ts";
import { featuresOf } from "./features.ts";

serve(featuresOf);
