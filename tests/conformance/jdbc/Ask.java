import java.lang.reflect.Method;
import java.math.BigDecimal;
import java.sql.*;
import java.util.*;

/** What stock tools do through JDBC. Prints one line a step: its name, a tab, and what came back. */
public class Ask {
    interface Step { Object run(Connection connection) throws Exception; }

    private static final Map<String, Step> STEPS = new LinkedHashMap<>();

    public static void main(String[] arguments) throws Exception {
        STEPS.put("getters", Ask::getters);
        STEPS.put("catalogs", c -> rows(c.getMetaData().getCatalogs()));
        STEPS.put("schemas", c -> rows(c.getMetaData().getSchemas(null, "%")));
        STEPS.put("table types", c -> rows(c.getMetaData().getTableTypes()));
        STEPS.put("tables", c -> rows(c.getMetaData().getTables("highwater", "public", "%", new String[] {"TABLE", "VIEW"})));
        STEPS.put("columns", c -> rows(c.getMetaData().getColumns("highwater", "public", "trades\\_tail", "pri%")));
        STEPS.put("keys", c -> List.of(
                rows(c.getMetaData().getPrimaryKeys("highwater", "public", "trades")),
                rows(c.getMetaData().getImportedKeys("highwater", "public", "trades")),
                rows(c.getMetaData().getExportedKeys("highwater", "public", "trades")),
                rows(c.getMetaData().getCrossReference("highwater", "public", "trades", "highwater", "public", "trades")),
                rows(c.getMetaData().getIndexInfo("highwater", "public", "trades", false, true))));
        STEPS.put("types", c -> query(c, "SELECT symbol, price, trade_conditions,"
                + " date '2024-02-29' AS day, arrow_cast(symbol, 'Dictionary(Int32, Utf8)') AS dict,"
                + " 'a' || symbol AS joined, x'00ff' AS bytes, true AS yes, null AS nothing,"
                + " vendor_data FROM trades ORDER BY message_id LIMIT 1"));
        STEPS.put("timestamp", c -> {
            try (Statement statement = c.createStatement();
                    ResultSet set = statement.executeQuery("SELECT timestamp FROM trades ORDER BY message_id LIMIT 1")) {
                set.next();
                return set.getTimestamp(1) + " " + set.getObject(1, java.time.Instant.class);
            }
        });
        STEPS.put("timestamp as object", c -> query(c, "SELECT timestamp FROM trades ORDER BY message_id LIMIT 1"));
        STEPS.put("execute", c -> {
            try (Statement statement = c.createStatement()) {
                boolean isQuery = statement.execute("SELECT 1 AS x");
                return List.of(isQuery, rows(statement.getResultSet()));
            }
        });
        STEPS.put("prepared", Ask::prepared);
        STEPS.put("max rows", c -> {
            try (Statement statement = c.createStatement()) {
                statement.setMaxRows(3);
                statement.setQueryTimeout(30);
                return rows(statement.executeQuery("SELECT message_id FROM trades")).size();
            }
        });
        STEPS.put("write", c -> update(c, "DELETE FROM trades"));
        STEPS.put("wrong", c -> query(c, "SELECT nothing FROM trades"));
        STEPS.put("version", c -> query(c, "SELECT VERSION()"));
        STEPS.put("set catalog", c -> { c.setCatalog("highwater"); return c.getCatalog(); });
        STEPS.put("explain", c -> query(c, "EXPLAIN SELECT 1").size());
        STEPS.put("cancel", Ask::cancel);
        Properties properties = new Properties();
        properties.put("useEncryption", "false");
        for (int i = 2; i < arguments.length; i++) {
            properties.put(arguments[i].split("=", 2)[0], arguments[i].split("=", 2)[1]);
        }
        Set<String> wanted = Set.of(arguments[1].split(","));
        boolean all = wanted.contains("all but cancel");
        Object closed = true;
        try (Connection connection = DriverManager.getConnection(arguments[0], properties)) {
            for (Map.Entry<String, Step> step : STEPS.entrySet()) {
                if (all ? step.getKey().equals("cancel") : !wanted.contains(step.getKey())) {
                    continue;
                }
                Object answer;
                try {
                    answer = step.getValue().run(connection);
                } catch (Throwable error) {
                    answer = "error " + error.getClass().getSimpleName() + ": " + error.getMessage();
                }
                System.out.println(step.getKey() + "\t" + String.valueOf(answer).replace("\n", " "));
            }
        } catch (SQLException error) {
            closed = error.getMessage().replace("\n", " ");
        }
        System.out.println("closed\t" + closed);
        System.exit(0);
    }

    /** Every getter without arguments: names of those that fail. */
    private static Object getters(Connection connection) throws Exception {
        DatabaseMetaData data = connection.getMetaData();
        List<String> failed = new ArrayList<>();
        int called = 0;
        for (Method method : DatabaseMetaData.class.getMethods()) {
            if (method.getParameterCount() > 0 || method.getDeclaringClass() != DatabaseMetaData.class) {
                continue;
            }
            called++;
            try {
                Object value = method.invoke(data);
                if (value instanceof ResultSet) {
                    rows((ResultSet) value);
                }
            } catch (java.lang.reflect.InvocationTargetException error) {
                failed.add(method.getName() + " " + error.getCause());
            }
        }
        return called + " " + failed;
    }

    private static Object prepared(Connection connection) throws Exception {
        List<Object> answers = new ArrayList<>();
        String sql = "SELECT count(*) AS n FROM trades WHERE symbol <> ? AND price > ? AND timestamp < ?"
                + " AND (source_sequence > ? OR true)";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            answers.add(statement.getParameterMetaData().getParameterCount());
            answers.add(statement.getMetaData().getColumnCount());
            for (String symbol : new String[] {"nobody", "someone"}) {
                statement.setString(1, symbol);
                statement.setBigDecimal(2, new BigDecimal("0.00000000"));
                statement.setTimestamp(3, Timestamp.valueOf("2100-01-01 00:00:00"));
                statement.setNull(4, Types.BIGINT);
                answers.add(rows(statement.executeQuery()));
            }
        }
        sql = "SELECT message_id FROM trades LIMIT ?";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setLong(1, 2);
            answers.add(rows(statement.executeQuery()).size());
        }
        return answers;
    }

    private static Object cancel(Connection connection) throws Exception {
        Statement statement = connection.createStatement();
        ResultSet set = statement.executeQuery("SELECT a.message_id FROM trades a, trades b, trades c, trades d, trades e");
        set.next();
        Thread.sleep(50);
        statement.cancel();
        try {
            while (set.next()) { }
            return "read to the end";
        } catch (SQLException error) {
            return "cancelled";
        }
    }

    private static List<List<Object>> query(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            return rows(statement.executeQuery(sql));
        }
    }

    private static int update(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            return statement.executeUpdate(sql);
        }
    }

    private static List<List<Object>> rows(ResultSet opened) throws SQLException {
        List<List<Object>> all = new ArrayList<>();
        try (ResultSet set = opened) {
            int columns = set.getMetaData().getColumnCount();
            while (set.next()) {
                List<Object> row = new ArrayList<>();
                for (int column = 1; column <= columns; column++) {
                    Object value = set.getObject(column);
                    row.add(value instanceof byte[] ? Arrays.toString((byte[]) value) : value);
                }
                all.add(row);
            }
        }
        return all;
    }
}
