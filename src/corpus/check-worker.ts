import { checkSound } from "./check.ts";
import { serve } from "./worker-pool.ts";

serve(checkSound);
