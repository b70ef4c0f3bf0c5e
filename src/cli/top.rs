//! `nameplane top`: live traffic, answers and zones of one server, in the terminal.
//!
//! Reads `/metrics` once a second and shows differences; the server does nothing for it that it
//! would not do for any scraper. With an operator's token it also shows which zones are asked about
//! most, and by whom, which the server counts only while somebody looks.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table};

use serde_json::Value;

use super::Failure;

/// Seconds of history in the traffic graph.
const HISTORY: usize = 240;

/// One reading of all metrics: name with labels to value.
type Reading = BTreeMap<String, f64>;

/// Where the numbers come from.
struct Source<'a> {
    server: &'a str,
    token: Option<&'a str>,
}

/// What the view shows.
struct Top {
    server: String,
    /// Zone, queries, clients with theirs; none without a token.
    talkers: Option<Vec<[String; 3]>>,
    last: Reading,
    rates: BTreeMap<String, f64>,
    history: Vec<u64>,
    trouble: Option<String>,
}

/// Shows the server at `server` until `q`.
pub(super) fn run(server: &str, token: Option<&str>, interval: Duration) -> Result<(), Failure> {
    let source = Source { server: server.trim_end_matches('/'), token };
    let mut top = Top::new(server);
    top.read(source.fetch("/metrics"), interval);
    let mut terminal = ratatui::try_init()?;
    let ended = watch(&mut terminal, &mut top, &source, interval);
    ratatui::restore();
    Ok(ended?)
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    top: &mut Top,
    source: &Source<'_>,
    interval: Duration,
) -> io::Result<()> {
    let mut read_at = Instant::now();
    loop {
        terminal.draw(|frame| top.draw(frame))?;
        if event::poll(interval.saturating_sub(read_at.elapsed()))? {
            if let Event::Key(key) = event::read()? {
                let interrupt =
                    key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(());
                }
            }
            continue;
        }
        let elapsed = read_at.elapsed();
        read_at = Instant::now();
        top.read(source.fetch("/metrics"), elapsed);
        if source.token.is_some() {
            top.read_talkers(source.fetch("/v1/traffic"));
        }
    }
}

impl Source<'_> {
    fn fetch(&self, path: &str) -> Result<String, String> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(5)))
            .build()
            .into();
        let mut request = agent.get(format!("{}{path}", self.server));
        if let Some(token) = self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = request.call().map_err(|error| error.to_string())?;
        response.body_mut().read_to_string().map_err(|error| error.to_string())
    }
}

impl Top {
    fn new(server: &str) -> Top {
        Top {
            server: server.to_owned(),
            talkers: None,
            last: Reading::new(),
            rates: BTreeMap::new(),
            history: Vec::new(),
            trouble: None,
        }
    }

    /// Takes a new reading; the first gives no rates.
    fn read(&mut self, text: Result<String, String>, elapsed: Duration) {
        let reading = match text {
            Ok(text) => parse(&text),
            Err(trouble) => return self.trouble = Some(trouble),
        };
        self.trouble = None;
        let seconds = elapsed.as_secs_f64().max(0.001);
        if !self.last.is_empty() {
            // A counter that went down is a server started anew: nothing to compare with.
            self.rates = reading
                .iter()
                .filter_map(|(key, value)| {
                    Some((key.clone(), (value - self.last.get(key)?).max(0.0) / seconds))
                })
                .collect();
            self.history.push(self.sum("nameplane_dns_queries_total") as u64);
            let over = self.history.len().saturating_sub(HISTORY);
            self.history.drain(..over);
        }
        self.last = reading;
    }

    /// Takes what the server says of who asks most.
    fn read_talkers(&mut self, text: Result<String, String>) {
        let text = match text {
            Ok(text) => text,
            Err(trouble) => return self.trouble = Some(trouble),
        };
        let view: Value = serde_json::from_str(&text).unwrap_or_default();
        let list = |value: &Value, key: &str| {
            value.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let text = |value: &Value, key: &str| {
            value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let count = |value: &Value| {
            grouped(value.get("queries").and_then(Value::as_f64).unwrap_or_default())
        };
        let row = |zone: &Value| {
            let clients = list(zone, "clients").into_iter().take(4).map(|client| {
                format!("{} {}", text(&client, "client").trim_end_matches("/32"), count(&client))
            });
            [text(zone, "zone"), count(zone), clients.collect::<Vec<_>>().join(", ")]
        };
        self.talkers = Some(list(&view, "zones").iter().map(row).collect());
    }

    /// The rate of one family over all its labels.
    fn sum(&self, family: &str) -> f64 {
        self.of(family).map(|(_, rate)| rate).sum()
    }

    /// The members of a family: their label's value and rate.
    fn of(&self, family: &str) -> impl Iterator<Item = (&str, f64)> {
        self.rates.iter().filter_map(move |(key, rate)| {
            let labels = key.strip_prefix(family)?;
            let labels = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}'));
            match labels {
                Some(labels) => Some((labels.split('"').nth(1)?, *rate)),
                None => (key == family).then_some(("", *rate)),
            }
        })
    }

    fn value(&self, key: &str) -> String {
        self.last.get(key).map_or("-".to_owned(), |value| grouped(*value))
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [head, graph, body, foot] = Layout::vertical([
            Constraint::Length(3),
            Constraint::Length(7),
            Constraint::Min(8),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(Paragraph::new(self.summary()), head);
        let title = format!(" queries a second, the last {} s ", self.history.len());
        let newest = self.history.len().saturating_sub(usize::from(graph.width));
        let shown = self.history.get(newest..).unwrap_or_default();
        frame.render_widget(
            Sparkline::default().block(Block::bordered().title(title)).data(shown),
            graph,
        );
        let body = match &self.talkers {
            None => body,
            Some(talkers) => {
                let [tables, below] = Layout::vertical([Constraint::Ratio(1, 2); 2]).areas(body);
                frame.render_widget(table_of_talkers(talkers), below);
                tables
            }
        };
        let columns: [_; 4] = Layout::horizontal([Constraint::Ratio(1, 4); 4]).areas(body);
        let tables = [
            ("transport", "nameplane_dns_queries_total"),
            ("type", "nameplane_dns_query_types_total"),
            ("RCODE", "nameplane_dns_responses_total"),
            ("no answer", "nameplane_dns_dropped_total"),
        ];
        for ((title, family), area) in tables.into_iter().zip(columns) {
            frame.render_widget(self.table(title, family), area);
        }
        frame.render_widget(Paragraph::new("q: quit"), foot);
    }

    fn summary(&self) -> Vec<Line<'_>> {
        let strong = Style::default().add_modifier(Modifier::BOLD);
        let first = match &self.trouble {
            Some(trouble) => Line::styled(format!("{}: {trouble}", self.server), strong),
            None => Line::styled(
                format!(
                    "{}   {} q/s   {} commits/s   {} truncated/s   {} limited/s",
                    self.server,
                    grouped(self.sum("nameplane_dns_queries_total")),
                    grouped(self.sum("nameplane_store_commits_total")),
                    grouped(self.sum("nameplane_dns_truncated_total")),
                    grouped(self.sum("nameplane_dns_rate_limited_total")),
                ),
                strong,
            ),
        };
        let second = format!(
            "{} zones loaded   {} names   table {} octets   version {}   {} connections   writing {}",
            self.value("nameplane_zones_loaded"),
            self.value("nameplane_table_names"),
            self.value("nameplane_table_bytes"),
            self.value("nameplane_snapshot_version"),
            self.value("nameplane_dns_open_connections"),
            self.value("nameplane_store_writing"),
        );
        vec![first, Line::from(second)]
    }

    fn table(&self, title: &'static str, family: &str) -> Table<'_> {
        let mut members: Vec<(&str, f64)> =
            self.of(family).filter(|(_, rate)| *rate > 0.0).collect();
        members.sort_by(|one, other| other.1.total_cmp(&one.1));
        let rows = members
            .into_iter()
            .map(|(name, rate)| Row::new([name.to_owned(), format!("{:>9}", grouped(rate))]));
        Table::new(rows, [Constraint::Min(8), Constraint::Length(10)])
            .block(Block::bordered().title(format!(" {title} ")))
    }
}

fn table_of_talkers(talkers: &[[String; 3]]) -> Table<'_> {
    let rows = talkers.iter().map(|[zone, queries, clients]| {
        Row::new([zone.clone(), format!("{queries:>9}"), clients.clone()])
    });
    Table::new(rows, [Constraint::Ratio(1, 3), Constraint::Length(10), Constraint::Min(20)])
        .block(Block::bordered().title(" zone, queries and clients since counting began "))
}

/// The samples of a Prometheus text.
fn parse(text: &str) -> Reading {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| {
            let (key, value) = line.trim_end().rsplit_once(' ')?;
            Some((key.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// A number with its thousands apart; one decimal below ten.
fn grouped(value: f64) -> String {
    let value = value + 0.0; // the sum of nothing is -0
    if value > 0.0 && value < 10.0 && value.fract() > 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    const FIRST: &str =
        "# HELP x\nnameplane_dns_queries_total{transport=\"udp\"} 100\nnameplane_zones_loaded 7\n";
    const SECOND: &str =
        "nameplane_dns_queries_total{transport=\"udp\"} 2600\nnameplane_zones_loaded 7\n";

    #[test]
    fn two_readings_give_rates_and_the_screen_shows_them() {
        let mut top = Top::new("http://127.0.0.1:8080");
        top.read(Ok(FIRST.to_owned()), Duration::from_secs(1));
        top.read(Ok(SECOND.to_owned()), Duration::from_secs(2));

        let mut terminal = Terminal::new(TestBackend::new(120, 30)).unwrap();
        terminal.draw(|frame| top.draw(frame)).unwrap();

        let screen = terminal.backend().to_string();
        assert!(screen.contains("1 250 q/s"), "{screen}");
        assert!(screen.contains("7 zones loaded"), "{screen}");
        assert!(screen.contains("udp"), "{screen}");
    }

    #[test]
    fn before_there_are_two_readings_nothing_is_counted() {
        let mut top = Top::new("http://127.0.0.1:8080");
        top.read(Ok(FIRST.to_owned()), Duration::from_secs(1));
        assert!(top.summary()[0].to_string().contains("   0 q/s   0 commits/s"));
    }

    #[test]
    fn a_server_that_is_away_is_named_and_asked_again() {
        let mut top = Top::new("http://127.0.0.1:1");
        top.read(Err("connection refused".to_owned()), Duration::from_secs(1));
        assert!(top.summary()[0].to_string().contains("connection refused"));
        top.read(Ok(FIRST.to_owned()), Duration::from_secs(1));
        assert!(top.trouble.is_none());
    }

    #[test]
    fn who_asks_most_is_shown_once_it_is_known() {
        let mut top = Top::new("http://127.0.0.1:8080");
        top.read_talkers(Ok(r#"{"zones": [{"zone": "busy.example.", "queries": 12000, "over": 0,
            "clients": [{"client": "192.0.2.7/32", "queries": 11000}]}]}"#
            .to_owned()));

        let mut terminal = Terminal::new(TestBackend::new(120, 40)).unwrap();
        terminal.draw(|frame| top.draw(frame)).unwrap();

        let screen = terminal.backend().to_string();
        assert!(screen.contains("busy.example."), "{screen}");
        assert!(screen.contains("12 000") && screen.contains("192.0.2.7 11 000"), "{screen}");
    }
}
