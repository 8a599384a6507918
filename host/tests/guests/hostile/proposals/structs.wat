;; refused: wrong-world

;; Objects that the host would have to collect.
;; in items
(type $s (struct (field i32)))
(func (drop (struct.new_default $s)))
