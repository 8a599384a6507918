;; refused: does-not-compile, says gc
;; Objects that the host would have to collect.
;; in items
(type $s (struct (field i32)))
(func (drop (struct.new_default $s)))
