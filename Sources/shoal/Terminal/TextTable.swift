/// Rows of text in aligned columns.
struct TextTable: Sendable {
    /// Where a column's text goes.
    enum Alignment: Sendable {
        case left, right
    }

    private let columns: [(title: String, alignment: Alignment)]
    private var rows: [[String]] = []

    init(_ columns: [(title: String, alignment: Alignment)]) { self.columns = columns }

    /// Adds a row; missing cells are empty.
    mutating func add(_ cells: [String]) { rows.append(cells) }

    /// The header and the rows, without blanks at the end of lines.
    var lines: [String] {
        let all = [columns.map(\.title)] + rows
        let widths = columns.indices.map { column in all.map { cell($0, column).count }.max() ?? 0 }
        return all.map { row in
            let cells = columns.indices.map { column in
                let text = cell(row, column)
                let padding = String(repeating: " ", count: widths[column] - text.count)
                return columns[column].alignment == .left ? text + padding : padding + text
            }
            return trimmed(cells.joined(separator: "  "))
        }
    }

    private func cell(_ row: [String], _ column: Int) -> String { column < row.count ? row[column] : "" }

    private func trimmed(_ line: String) -> String {
        String(line[..<(line.lastIndex { $0 != " " }.map { line.index(after: $0) } ?? line.startIndex)])
    }
}
