import { synthesizeUtterance } from "./synthetic-speech.ts";
import { serve } from "./worker-pool.ts";

serve(synthesizeUtterance);
