;; refused: wrong-world

(module (memory i64 1))
