;; refused: wrong-world, says shared
;; in memory
(memory (export "memory") 2 2 shared)
