;; refused: does-not-compile, says stack switching
;; in items
(type $f (func))
(type $k (cont $f))
(func $run (cont.new $k (ref.func $run)) drop)
(elem declare func $run)
