use super::*;

const START: Micros = Micros(1_790_000_000_000_000);

#[test]
fn a_total_outage_pages_and_the_page_ends_with_it() {
    let objective = Objective { target: 0.99, period: Duration::from_secs(30 * 86_400), began: None };
    let outage = 2_000..2_060;
    let slots: Vec<Slot> = (0..4_000)
        .map(|number| {
            let fails = outage.contains(&number);
            let at = START + Duration::from_secs(number * 10);
            Slot { at, good: 2 * u32::from(!fails), bad: 2 * u32::from(fails) }
        })
        .collect();
    let paged = replay(&slots, &objective, &Settings::default());
    assert_eq!(paged.len(), 1, "{paged:?}");
    let began = START + Duration::from_secs(outage.start * 10);
    assert!(paged[0].at.since(began) <= Duration::from_secs(60), "{paged:?}");
    assert!(paged[0].until.is_some(), "{paged:?}");
}
