;; refused: structure-limit, says nested components
(component (component))
