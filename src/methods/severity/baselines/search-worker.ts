import { serve } from "../../../corpus/worker-pool.ts";
import { type SearchTask, search } from "./search.ts";

serve(async (task: SearchTask) => search(task));
