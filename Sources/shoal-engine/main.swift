import CShoalEngine
import CLlama
let x = llama_max_devices()
