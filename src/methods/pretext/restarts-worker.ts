import { serve } from "../../corpus/worker-pool.ts";
import { runStart } from "./restarts.ts";

serve(runStart);
