;; refused: wrong-world

;; in items
(func $f (return_call $f))
