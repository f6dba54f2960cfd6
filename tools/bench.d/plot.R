# The plot: how many times rustBatch's time each backend takes, on a logarithmic axis.

# "|" for rustBatch, at 1; Okabe and Ito's colours, which the colour-blind can tell apart too.
looks <- data.frame(
  backend = backends$id,
  colour = c(
    "#000000", "#999999", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9"
  ),
  sign = c(124, 15, 17, 16, 18, 4, 8, 3)
)

plot_ratios <- function(results, file) {
  timed <- results$unit %in% c("s", "ms", "x") & results$backend != "rustBatch" &
    !is.na(results$ratio) & !nzchar(results$failure)
  points <- results[timed, ]
  if (!nrow(points)) {
    return(invisible())
  }
  rows <- unique(points$what)
  y <- length(rows) + 1 - match(points$what, rows)
  look <- looks[match(points$backend, looks$backend), ]
  type <- if (capabilities("cairo")) "cairo" else getOption("bitmapType")
  grDevices::png(file, 1500, 300 + 48 * length(rows), res = 150, type = type)
  on.exit(grDevices::dev.off())
  graphics::par(mar = c(4, 20, 3, 1), cex = 0.8, family = "sans", las = 1)
  plot(
    points$ratio, y,
    log = "x", type = "n", yaxt = "n", xaxt = "n", ylab = "", ylim = c(0.5, length(rows) + 0.5),
    xlim = range(0.7, 1.5, points$ratio), xlab = "time, as a multiple of rustBatch's"
  )
  ticks <- outer(c(1, 2, 5), 10^(-3:4))
  graphics::axis(1, ticks, format(ticks, drop0trailing = TRUE, trim = TRUE, scientific = FALSE))
  names <- paste(points$work[match(rows, points$what)], rows)
  graphics::axis(2, rev(seq_along(rows)), names, tick = FALSE, cex.axis = 0.9)
  graphics::abline(h = seq_along(rows), col = "#EEEEEE")
  graphics::abline(v = 1, lwd = 2)
  graphics::points(points$ratio, y, pch = look$sign, col = look$colour, cex = 1.2, lwd = 2)
  shown <- looks[looks$backend %in% c("rustBatch", points$backend), ]
  graphics::legend(
    graphics::grconvertX(0.01, "ndc"), graphics::grconvertY(0.99, "ndc"), shown$backend,
    pch = shown$sign, col = shown$colour, horiz = TRUE, bty = "n", xpd = NA, pt.lwd = 2
  )
}
