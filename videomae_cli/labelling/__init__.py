"""Labels clips by asking: keeps answers, learns from each, chooses the next question, and serves a page for it.

    answers            the table of answers: appended and synced, whole after any kill
    learner            a linear head on frozen features, fitted in milliseconds; an estimate of its accuracy
    questions          which clip to ask about
    labelling_session  the state: clips, answers, what was learnt; knows no page and no video
    taken_labels       labels that exist already
    clip_previews      what the page shows of a clip
    learnt_model       the checkpoint that `classify` loads
    label_server       the page's server
    assets/            the page

Nothing here embeds videos: `api.label_session` does, and gives the vectors to a session.
"""
