;; refused: does-not-compile, says gc
;; in items
(rec (type $a (struct (field (ref null $b)))) (type $b (struct (field (ref null $a)))))
